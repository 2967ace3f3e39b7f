"""The page as a whole: it is self-contained and escaped, and it shows the report parts that exist."""

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from markupsafe import escape

from autolora.errors import MissingArtifact
from autolora.lora.remedies import REMEDIES
from autolora.report import images
from autolora.report.history import RefreshRecord, write_refresh
from autolora.report.outcomes import Outcome
from autolora.report.page import assemble
from autolora.storage.files import write_rows
from autolora.storage.incremental import write_digest
from tests.report.parsed_page import Page, read_page, script_data
from tests.support.report_root import DAY, HOSTILE, write_pool, write_report_parts


def test_page_loads_nothing(full: Path) -> None:
    page = Page(read_page(full))
    assert not page.open
    assert {source.split(",")[0] for source in page.sources if not source.startswith("#")} == {
        "data:image/png;base64",
        "data:image/webp;base64",
    }
    assert "url(" not in read_page(full)
    assert "@import" not in read_page(full)
    assert len(page.ids) == len(set(page.ids))
    links = {source[1:] for source in page.sources if source.startswith("#")}
    adapters = {f"/{adapter['sha256']}" for adapter in script_data(full)["adapters"]}
    assert links <= set(page.ids) | adapters


def test_only_the_script_of_the_page_may_run(full: Path) -> None:
    text = read_page(full)
    (data_type, _), (script_type, script) = Page(text).scripts
    assert (data_type, script_type) == ("application/json", None)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in text
    )
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert dangerous not in script


def test_texts_from_a_hub_are_escaped(full: Path) -> None:
    page, text = Page(read_page(full)), read_page(full)
    assert page.tags.count("script") == 2
    assert not {name for name in page.attributes if name.startswith("on")}
    assert "&lt;script&gt;" in text
    assert "{{ 7 * 7 }}" in text
    assert not set("<>&\u2028") & set(page.scripts[0][1])
    assert HOSTILE in script_data(full)["adapters"][0]["license"]


def test_page_lists_adapters_without_a_script_and_why_files_were_refused(full: Path) -> None:
    text = read_page(full)
    for number in range(14):
        assert f"author{number}/" in text
    listed = text[text.index("<noscript>") : text.index("</noscript>")]
    assert listed.count("<li>") == 12
    assert text.count("The file is a pickle") >= 2 and REMEDIES["pickle"] in text
    for phrase in (
        "rank 8 on 64 layers",
        "not reported",
        "Split: held out from training",
        "Split: training set",
        "Split: added after training",
    ):
        assert phrase in listed


def test_every_image_of_the_markup_has_a_size_and_a_text(full: Path) -> None:
    images = re.findall(r"<img[^>]*>", read_page(full))
    assert len(images) > 20
    for image in images:
        assert re.search(r' width="[1-9][0-9]*" height="[1-9][0-9]*"', image) and ' alt="' in image, image[
            -200:
        ]


def test_image_that_is_not_safe_for_work_is_covered_by_a_label(full: Path) -> None:
    assert re.search(r'<span class="veil"><img [^>]*></span>', read_page(full))
    assert 'content: "not safe for work"' in read_page(full)


def test_what_is_new_comes_first_then_browse_then_numbers(full: Path) -> None:
    text = read_page(full)
    order = [
        text.index(f'<section id="{name}"') for name in ("new", "browse", "searches", "numbers", "details")
    ]
    assert order == sorted(order)
    assert "filters by words" in text and 'data-copy="autolora serve"' in text
    assert "No refresh has succeeded in this repository yet" in text


def test_page_shows_what_became_of_the_files_of_the_last_refresh(tmp_path: Path) -> None:
    adapters = write_pool(tmp_path, adapters=2)
    name = f"huggingface:author0/{HOSTILE}"
    rows = [
        Outcome(kind="accepted", name=name, sha256=adapters[0]),
        Outcome(
            kind="refused", name="h:bad", sha256="b" * 64, code="pickle", reason=HOSTILE, remedy="Do this."
        ),
        *(Outcome(kind="waiting", name=f"h:{n}", sha256=None, reason="budget") for n in range(7)),
    ]
    write_refresh(tmp_path, RefreshRecord.of(DAY, "d" * 64, 2, rows, ["**stale: 3 listings of civitai**"]))
    text = assemble(tmp_path).read_text()
    assert "The refresh of 2026-01-01 released 2 adapters: 1 accepted, 1 refused, 7 waiting." in text
    assert f'<a href="#/{adapters[0]}"><bdi>{escape(name)}</bdi></a>' in text
    assert f"{escape(HOSTILE)}</bdi><br><b>What to do:</b> Do this." in text
    assert "refused: pickle" in text and "3 more files" in text
    assert "<li><bdi>stale: 3 listings of civitai</bdi></li>" in text
    assert Page(text).tags.count("script") == 2


def test_page_shows_numbers_with_intervals_chance_and_counts(full: Path) -> None:
    text = re.sub(r"\s+", " ", read_page(full))
    report = json.loads((full / "data" / "evaluation" / "report.json").read_text())
    recall = report["levels"]["theme"]["methods"]["encoder"]["R@1"]
    assert f"{recall['value']:.2f}</b> <small>[{recall['low']:.2f}, {recall['high']:.2f}]</small>" in text
    assert "chance 25 %" in text
    assert "24 queries, 6 adapters" in text
    for phrase in (
        "nearest other adapter",
        "mosaic: 3 adapters",
        "caption centroid",
        "encoder − random",
        "gated − direct",
        "selected",
        "base similarity",
        "adapter 2 similarity",
    ):
        assert phrase in text
    assert text.count('class="panel search"') == 2
    assert text.count('class="hit right"') == 6
    assert "more searches" not in text


def test_numbers_of_another_state_of_the_pool_are_left_out(full: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(full, tmp_path / "root"))
    write_digest(root, "index", {}, 1, content="e" * 64)
    text = assemble(root).read_text()
    assert 'id="retrieval"' not in text and 'id="searches"' not in text
    assert "of searches show an adapter" not in text
    assert 'id="fusion"' in text
    assert (
        "The numbers of evaluation are left out, because they were measured with another state of index"
        in text
    )
    assert "run dvc repro evaluation" in text


@pytest.mark.parametrize("part", ["pool", "evaluation", "experiments"])
def test_page_shows_the_report_parts_that_exist(part: str, tmp_path: Path) -> None:
    adapters = write_pool(tmp_path)
    if part in ("evaluation", "experiments"):
        write_report_parts(tmp_path, adapters)
        missing = {"evaluation": "experiments", "experiments": "evaluation"}[part]
        (tmp_path / "data" / missing / "report.json").unlink()
    text = assemble(tmp_path).read_text()
    assert ('id="retrieval"' in text) == (part == "evaluation")
    assert ('id="fusion"' in text) == (part == "experiments")
    assert 'id="browse"' in text
    Page(text)


def test_missing_catalog_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="catalog"):
        assemble(tmp_path)


def test_equal_artifacts_give_an_equal_page(full: Path) -> None:
    path = full / "reports" / "index.html"
    before = path.stat().st_mtime_ns
    assemble(full)
    assert path.stat().st_mtime_ns == before


def test_page_made_from_thumbnails_is_equal_and_decodes_new_images_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pool(tmp_path)
    first = assemble(tmp_path).read_text()
    decoded: list[Path] = []
    reduce_image = images.reduce_image

    def count(path: Path, max_side: int, lossless: bool = True) -> tuple[bytes, bool] | None:
        decoded.append(path)
        return reduce_image(path, max_side, lossless)

    monkeypatch.setattr(images, "reduce_image", count)
    assert assemble(tmp_path).read_text() == first
    assert not decoded
    write_pool(tmp_path, adapters=13)
    assemble(tmp_path)
    assert len(decoded) == 2


def test_adapter_that_left_the_pool_is_named_by_its_hash(tmp_path: Path) -> None:
    adapters = write_pool(tmp_path)
    write_report_parts(tmp_path, adapters)
    write_rows(tmp_path / "data" / "catalog.jsonl", [])
    text = assemble(tmp_path).read_text()
    assert adapters[0][:12] in text
    assert 'id="browse"' not in text


def test_page_of_a_large_pool_has_its_images_beside_it(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=600)
    text = assemble(tmp_path).read_text()
    assert len(text) < 3_000_000
    data = script_data(tmp_path)
    assert len(data["adapters"]) == 602
    assert "img-src &#39;self&#39; data:;" in text
    assert len(data["images"]) == 1200
    for url, *_ in data["images"]:
        assert re.fullmatch(r"images/[0-9a-f]{12}/[0-9a-f]{2}/[0-9a-f]{64}\.(pixels\.)?webp", url)
        assert (tmp_path / "reports" / url).is_file()
