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
from autolora.metrics.summary import read_summary
from autolora.report import images
from autolora.report.page import assemble
from autolora.storage.files import write_rows
from tests.report.parsed_page import Page, read_page, script_data
from tests.support.report_root import HOSTILE, write_pool, write_report_parts

ODD_FILES = Path(__file__).parents[2] / "metrics" / "odd_files.json"


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
    assert links <= set(page.ids)


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


def test_page_shows_every_adapter_and_why_files_were_refused(full: Path) -> None:
    text = read_page(full)
    for number in range(14):
        assert f"author{number}/" in text
    assert text.count('<article class="card">') == 12
    assert text.count('class="cover"') == 12
    assert text.count("The file is a pickle") >= 2
    assert 'class="pixels nsfw"' in text
    for phrase in (
        "rank 8 on 64 layers",
        "peft, bfloat16",
        "not reported",
        "Split: held out from training",
        "Split: training set",
        "Split: added after training",
    ):
        assert phrase in text


def test_page_shows_adapters_whose_captions_disagree_with_the_weights(full: Path) -> None:
    text = read_page(full)
    section = re.search(r'<section id="captions">.*?</section>', text, flags=re.DOTALL)
    assert section is not None
    names = re.findall(r"<bdi>(author\d+)/", section.group())
    assert names == ["author5", "author3"]
    assert "The captions of 2 of 12 adapters" in section.group()
    assert "cosine -0.12, at least 0.50 expected" in section.group()
    assert section.group().count("<img") == 4 and "nsfw" in section.group()
    assert '<a href="#captions">Captions</a>' in text
    assert text.count("they are not used in searches. Split") == 2


def test_page_shows_the_lowest_agreements_only(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(full, tmp_path / "root"))
    monkeypatch.setattr("autolora.report.page.MAX_DISAGREEING", 1)
    text = assemble(root).read_text()
    section = text[text.index('<section id="captions">') :].split("</section>")[0]
    assert re.findall(r"<bdi>(author\d+)/", section) == ["author5"]
    assert "Only the 1 with the lowest cosine are shown here" in section


def test_page_without_disagreeing_captions_has_no_section_on_them(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=2)
    text = assemble(tmp_path).read_text()
    assert 'id="captions"' not in text and 'href="#captions"' not in text


def test_page_shows_numbers_with_intervals_chance_and_counts(full: Path) -> None:
    text = re.sub(r"\s+", " ", read_page(full))
    report = json.loads((full / "data" / "evaluation" / "report.json").read_text())
    recall = report["levels"]["theme"]["methods"]["encoder"]["R@1"]
    assert f"{recall['value']:.3f}</b> <small>[{recall['low']:.3f}, {recall['high']:.3f}]</small>" in text
    assert "chance 0.25" in text
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


def test_tiles_show_the_rows_of_the_summary(full: Path) -> None:
    text, rows = read_page(full), read_summary(full)
    recall = rows["retrieval.theme_r_at_1_unseen"]
    difference = rows["fusion.pair_prompt_similarity_gated_minus_direct"]
    assert f"<b>{recall['value']:.2f}</b><span>R@1 by theme" in text
    assert f"<b>{difference['value']:+.3f}</b><span>gated − direct" in text
    assert "24 queries about adapters unseen in training" in text
    assert text.count('class="tile"') == 3


def test_page_shows_the_reliability_of_verdicts_once_it_is_measured(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=2)
    assert "How reliable these verdicts are" not in assemble(tmp_path).read_text()
    (tmp_path / "metrics").mkdir()
    shutil.copy(ODD_FILES, tmp_path / "metrics" / "odd_files.json")
    text, odd_files = assemble(tmp_path).read_text(), json.loads(ODD_FILES.read_text())
    assert f"of {odd_files['totals']['files']} unusual and hostile files" in text
    assert all(f'<th scope="row">{escape(kind)}</th>' in text for kind in odd_files["kinds"])


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
    assert 'id="pool"' in text
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
    assert 'id="pool"' not in text


def test_page_of_a_large_pool_stays_small(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=600)
    text = assemble(tmp_path).read_text()
    assert len(text) < 15_000_000
    assert len(script_data(tmp_path)["adapters"]) == 602
    assert text.count("<img") < 1500
