"""The report: it is self-contained and escaped, and it shows what came, what is wrong and what was measured."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from markupsafe import escape

from autolora.catalog import failed_items
from autolora.catalog import store as catalog
from autolora.catalog.failed_items import FailedItem
from autolora.errors import MissingArtifact
from autolora.lora.remedies import REMEDIES
from autolora.refresh.record import read_refresh, write_refresh
from autolora.report import newest
from autolora.report.page import assemble
from autolora.storage.incremental import write_digest
from tests.report.parsed_page import Page, read_page
from tests.support.report_root import DAY, HOSTILE, write_pool, write_report_parts

PROFILE = Path(__file__).parents[2] / "profiles" / "flux.1-dev.yaml"


@pytest.fixture
def root(full: Path, tmp_path: Path) -> Path:
    """Return a copy of the full root, to be changed."""
    return Path(shutil.copytree(full, tmp_path / "root"))


def section(text: str, start: str, end: str = "</section>") -> str:
    """Return the part of the page that begins with an id."""
    return text[text.index(f'id="{start}"') :].split(end)[0]


def test_page_loads_nothing_and_runs_nothing(full: Path) -> None:
    page, text = Page(read_page(full)), read_page(full)
    assert not page.open and "script" not in page.tags
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'" in text
    sources = {source.split(",")[0] for source in page.sources if not source.startswith("https://")}
    assert sources == {"data:image/webp;base64"}
    assert "url(" not in text and "@import" not in text
    assert len(page.ids) == len(set(page.ids))


def test_texts_from_a_hub_are_escaped(full: Path) -> None:
    page, text = Page(read_page(full)), read_page(full)
    assert "noscript" not in page.tags
    assert not {name for name in page.attributes if name.startswith("on")}
    assert str(escape(HOSTILE)) in text and "&lt;script&gt;" in text and "{{ 7 * 7 }}" in text


def test_what_came_is_first_then_refusals_and_problems_then_numbers(full: Path) -> None:
    text = read_page(full)
    order = [text.index(f'id="{name}"') for name in ("refresh", "refused", "attention", "numbers")]
    assert order == sorted(order)
    counts = re.findall(r"<strong>(\d+)</strong> ([a-z ]+)", text)
    assert counts == [
        ("2", "accepted"), ("6", "refused"), ("0", "already in the pool"), ("1", "waiting"),
        ("0", "changed metadata"), ("0", "removed"),
    ]  # fmt: skip
    assert "Last change: <b>2026-01-01</b>" in text and "All files of this refresh" in text


def test_refusals_state_reason_and_remedy_and_the_first_ones_are_unfolded(full: Path) -> None:
    refused = section(read_page(full), "refused")
    unfolded, more, pool = refused.split("<details>")
    assert unfolded.count('<span class="badge bad">pickle</span>') == 4
    assert f"<bdi>{escape(HOSTILE)}</bdi>.</span>" in unfolded and "Do this." in unfolded
    assert "2 more" in more and more.count("<li>") == 2
    assert "All refused files of the pool" in pool and pool.count("The file is a pickle under") == 2
    assert str(escape(REMEDIES["pickle"])) in pool


def test_new_adapters_come_first_each_with_an_image(full: Path) -> None:
    shown = re.findall(r'<span class="image">(.*?)</span>(?s:.*?)<bdi>(.*?)</bdi>', read_page(full))
    assert len(shown) == newest.MIN_SHOWN
    assert [image.endswith(">new") for image, _ in shown] == [True, True, *[False] * 6]
    for image, _ in shown:
        assert 'src="data:image/webp;base64,' in image and ' alt="made with ' in image


def test_all_new_adapters_are_shown_up_to_a_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MIN_SHOWN", 1)
    assert assemble(root).read_text().count('class="image"') == 2
    monkeypatch.setattr(newest, "MAX_SHOWN", 1)
    assert assemble(root).read_text().count('class="image"') == 1


def test_an_adapter_that_is_not_safe_for_work_has_no_image(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "MIN_SHOWN", 12)
    text = assemble(root).read_text()
    assert text.count('src="data:image') == 11 and text.count(">not safe for work<") == 1


def test_the_weights_say_what_an_adapter_does(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "MIN_SHOWN", 12)
    text = assemble(root).read_text()
    first = text[text.index('first seen 2026-01-01"><bdi>author1</bdi>') :].split("</li>")[0]
    assert '<span class="tags">mosaic</span>' in first


def test_an_image_that_the_pool_lost_leaves_none(root: Path) -> None:
    shutil.rmtree(root / "data" / "pool" / "open" / "renderings")
    text = assemble(root).read_text()
    assert "no image" in text and "data:image" not in text


def test_hub_pages_are_links_below_the_hubs_of_the_params(root: Path) -> None:
    assert "huggingface.co/author7/" not in read_page(root)
    shutil.copy(PROFILE, root / "params.yaml")
    links = [link for link in Page(assemble(root).read_text()).sources if link.startswith("https://")]
    assert any(link.startswith("https://huggingface.co/author7/") for link in links)
    assert all(not set("<>\"' ") & set(link) for link in links)


def test_problems_failures_and_disagreeing_captions_need_attention(root: Path) -> None:
    items = [
        FailedItem(
            stage="pool", key=str(n), hub="civitai", id=str(n), name=f"{n}/ink.safetensors",
            reason="hub civitai: status 503", last_attempt=DAY,
        )
        for n in range(7)
    ]  # fmt: skip
    failed_items.record(root, "pool", items, {item.key for item in items}, DAY)
    first, *others = catalog.read_all(root)
    catalog.write(root, [replace(first, status="queued"), *others])
    attention = section(assemble(root).read_text(), "attention")
    sentences = re.sub(r"<[^>]+>", "", attention)
    assert "stale: 3 listings of civitai" in sentences and "**" not in sentences
    assert (
        "download or reading failed: civitai:0/ink.safetensors (status 503); next attempt on 2026-01-02"
        in sentences
    )
    assert (
        sentences.count("download or reading failed") == 5 and "2 more models with failed items" in sentences
    )
    assert "1 new file waits for a later night (crawl.max_new_files)" in sentences
    assert "captions of 2 adapters disagree with the weights" in sentences
    assert sentences.index("hub 0005") < sentences.index("hub 0003"), "the lowest agreement first"


def test_nothing_to_say_is_said(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=2)
    (tmp_path / "dvc.yaml").touch()
    text = assemble(tmp_path).read_text()
    assert "Nothing.</p>" in section(text, "attention")
    assert "No refresh has been recorded yet" in text
    assert "Nothing has been measured on this pool yet" in section(text, "numbers")
    Page(text)


def test_numbers_are_sentences_with_interval_and_chance(full: Path) -> None:
    numbers = re.sub("\N{NO-BREAK SPACE}", " ", section(read_page(full), "numbers"))
    report = json.loads((full / "data" / "evaluation" / "report.json").read_text())
    recall = report["levels"]["theme"]["methods"]["search"]["R@1"]
    sentence = next(row for row in numbers.split("<li>") if "of searches" in row)
    assert f"<b>{100 * recall['value']:.0f} %</b> of searches show an adapter" in sentence
    assert (
        f"95 % interval {100 * recall['low']:.0f} % to {100 * recall['high']:.0f} %, chance 25 %." in sentence
    )
    assert "24 searches about 6 adapters" in sentence


def test_numbers_of_another_state_of_the_pool_are_left_out(root: Path) -> None:
    write_digest(root, "index", {}, 1, content="e" * 64)
    text = assemble(root).read_text()
    assert "of searches show an adapter" not in text
    left_out = re.sub(r"<[^>]+>", "", section(text, "attention"))
    assert (
        "The numbers of evaluation are left out, because they were measured with another state of index"
        in left_out
    )
    assert "run dvc repro evaluation" in left_out


@pytest.mark.parametrize("part", ["pool", "evaluation", "experiments"])
def test_page_shows_the_report_parts_that_exist(part: str, tmp_path: Path) -> None:
    adapters = write_pool(tmp_path)
    if part in ("evaluation", "experiments"):
        write_report_parts(tmp_path, adapters)
        missing = {"evaluation": "experiments", "experiments": "evaluation"}[part]
        (tmp_path / "data" / missing / "report.json").unlink()
    text = assemble(tmp_path).read_text()
    assert ("of searches show" in text) == (part == "evaluation")
    assert 'class="image"' in text
    Page(text)


def test_missing_catalog_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match="catalog"):
        assemble(tmp_path)


def test_equal_artifacts_give_an_equal_page(full: Path) -> None:
    path = full / "reports" / "index.html"
    before = path.stat().st_mtime_ns
    assemble(full)
    assert path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_page_of_a_large_pool_is_small(tmp_path: Path) -> None:
    write_pool(tmp_path, adapters=600)
    assert len(assemble(tmp_path).read_text()) < 1_000_000


def test_a_record_of_no_changes_has_no_files(root: Path) -> None:
    record = read_refresh(root)
    assert record is not None
    write_refresh(root, replace(record, counts={}, outcomes=(), problems=()))
    text = assemble(root).read_text()
    assert "All files of this refresh" not in text and "No file of the last refresh." in text
