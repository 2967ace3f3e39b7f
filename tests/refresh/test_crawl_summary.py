"""The summary of a crawl: lines that may need attention, reported once, and the table of a dry run."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog.failed_items import FailedItem, record
from autolora.crawl import stage as crawl
from autolora.crawl.budget import Cost
from autolora.crawl.plan import CatalogPlan
from autolora.params import BudgetParams, CrawlParams
from autolora.refresh.crawl_summary import catalog_line, downloads_table, report_lines, table_text
from tests.support.fake_hub import MIDNIGHT, FakeHub
from tests.support.tiny_pool import RULES as ONE_HUB

RULES = replace(ONE_HUB, hubs=("huggingface", "civitai"), max_nsfw_level="explicit")
DAY = MIDNIGHT.date()


@pytest.fixture
def hubs() -> list[FakeHub]:
    """Two hubs with two models each."""
    hubs = [FakeHub("huggingface"), FakeHub("civitai")]
    for hub in hubs:
        for hour, id in enumerate(("ann/ink", "bob/cat")):
            hub.put(id, hour)
    return hubs


def plan(root: Path, hubs: Sequence[FakeHub], rules: CrawlParams, today: datetime.date = DAY) -> CatalogPlan:
    """Scan the hubs and return the plan."""
    scans = [crawl.scan_hub(root, hub, rules, today, write_journal=False) for hub in hubs]
    return crawl.reconcile(root, scans, rules, today)


def lines(root: Path, hubs: Sequence[FakeHub], rules: CrawlParams, day: int = 0) -> list[str]:
    """Crawl, write the catalog, and return the report."""
    crawl_plan = plan(root, hubs, rules, DAY + datetime.timedelta(days=day))
    crawl.write(root, crawl_plan)
    return report_lines(crawl_plan, rules.hubs)


def test_withdrawal_is_reported_once(tmp_path: Path, hubs: list[FakeHub]) -> None:
    assert lines(tmp_path, hubs, RULES) == []
    del hubs[0].models["ann/ink"]
    assert lines(tmp_path, hubs, RULES, day=1) == ["withdrawn: huggingface:ann/ink/lora.safetensors"]
    assert lines(tmp_path, hubs, RULES, day=1) == []


def test_hub_removed_from_the_parameters_is_reported_once(tmp_path: Path, hubs: list[FakeHub]) -> None:
    lines(tmp_path, hubs, RULES)
    rules = replace(RULES, hubs=("huggingface",))
    assert lines(tmp_path, hubs[:1], rules) == [
        "hub civitai is no longer in crawl.hubs: 2 listings are not active any more"
    ]
    assert lines(tmp_path, hubs[:1], rules) == []


def test_queued_files_are_counted_and_oversized_files_are_named(tmp_path: Path, hubs: list[FakeHub]) -> None:
    hubs[0].put("eve/huge", 5, size=900_000)
    rules = replace(RULES, budget=BudgetParams(files=3, gb=5e-4, captions=None))
    assert lines(tmp_path, hubs, rules) == [
        "queued for a later day: 2 files, 0.0009 GB",
        "larger than the whole daily budget: huggingface:eve/huge/lora.safetensors",
    ]


def test_queued_files_of_unknown_size_are_counted(tmp_path: Path, hubs: list[FakeHub]) -> None:
    rules = replace(RULES, budget=BudgetParams(files=1, gb=None, captions=None))
    assert lines(tmp_path, hubs, rules) == [
        "queued for a later day: 3 files, 0.0000 GB without 2 of unknown size"  # each hub requests one model
    ]


def test_deferred_download_is_named_with_the_day_of_the_next_attempt(
    tmp_path: Path, hubs: list[FakeHub]
) -> None:
    new = hubs[0].put("eve/gone", 5)
    failed = FailedItem(
        stage="pool", key=new.key, hub=new.hub, id=new.id, name="eve/gone/lora.safetensors",
        reason="hub huggingface: answered 404", last_attempt=DAY,
    )  # fmt: skip
    record(tmp_path, "pool", [failed], {new.key}, DAY)
    (rendering,) = hubs[0].models["eve/gone"].partial_listings[0].renderings
    image = replace(failed, stage="captions", key=rendering.key, name="https://hub/1.png", reason="refused")
    record(tmp_path, "captions", [image], {image.key}, DAY)
    assert lines(tmp_path, hubs, RULES) == [
        "deferred until 2026-01-02, download or reading failed: huggingface:eve/gone/lora.safetensors (answered 404)",
        "deferred until 2026-01-02, caption failed: huggingface:eve/gone: 1 image (https://hub/1.png: refused)",
        "queued for a later day: 1 file, 0.0000 GB",
    ]


def test_dry_run_table_shows_the_downloads_per_hub(tmp_path: Path, hubs: list[FakeHub]) -> None:
    downloads = {"civitai": Cost(files=7, size=20_000_000, renderings=4)}
    table = downloads_table(plan(tmp_path, hubs, RULES), downloads, RULES.hubs)
    rows = {}
    for line in table_text(table).splitlines():
        if len(cells := line.split("│")) > 1:
            rows[cells[1].strip()] = [cell.strip() for cell in cells[2:6]]
    assert rows["civitai"] == ["7", "0.0200", "4", "12"]
    assert rows["huggingface"] == ["0", "0.0000", "0", "0"]


def test_catalog_line_counts_active_files_and_scanned_hubs(tmp_path: Path, hubs: list[FakeHub]) -> None:
    line = catalog_line(plan(tmp_path, hubs, RULES), 1.23)
    assert line == "4 active files in the catalog of 2026-01-01; 2 hubs scanned in 1.2 s"
