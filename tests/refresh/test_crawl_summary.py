"""The summary of a crawl: lines that may need attention, reported once."""

import datetime
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog.failed_items import FailedItem, record
from autolora.crawl import stage as crawl
from autolora.crawl.plan import CatalogPlan
from autolora.params import CrawlParams
from autolora.refresh.crawl_summary import catalog_line, keep_problems, read_problems, report_lines
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
    scans = [crawl.scan_hub(root, hub, rules, today) for hub in hubs]
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


def test_waiting_files_are_counted(tmp_path: Path, hubs: list[FakeHub]) -> None:
    assert lines(tmp_path, hubs, replace(RULES, max_new_files=1)) == ["wait for a later night: 2 files"]


def test_a_full_disk_is_a_problem(tmp_path: Path, hubs: list[FakeHub]) -> None:
    crawl_plan = plan(tmp_path, hubs, replace(RULES, min_free_gb=1e9))
    keep_problems(tmp_path, crawl_plan)
    (problem,) = read_problems(tmp_path)
    assert problem == "no room for 4 new files: free some space, or lower crawl.min_free_gb in params.yaml"
    assert report_lines(crawl_plan, RULES.hubs) == [problem, "wait for a later night: 4 files"]


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
        "wait for a later night: 1 file",
    ]


def test_catalog_line_counts_active_files_and_scanned_hubs(tmp_path: Path, hubs: list[FakeHub]) -> None:
    line = catalog_line(plan(tmp_path, hubs, RULES), 1.23)
    assert line == "4 active files in the catalog of 2026-01-01; 2 hubs scanned in 1.2 s"
