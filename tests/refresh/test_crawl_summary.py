"""The summary of a crawl: the numbers of files, and what needs attention."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.crawl import stage as crawl
from autolora.crawl.plan import CatalogPlan
from autolora.errors import DiskFull, HubError
from autolora.params import CrawlParams
from autolora.refresh.crawl_summary import catalog_line, keep_problems, problem_lines, read_problems
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


def plan(root: Path, hubs: Sequence[FakeHub], rules: CrawlParams) -> CatalogPlan:
    """Scan the hubs and return the plan."""
    return crawl.reconcile(root, [crawl.scan_hub(root, hub, rules, DAY) for hub in hubs], rules, DAY)


def test_active_and_waiting_files_and_scanned_hubs_are_counted(tmp_path: Path, hubs: list[FakeHub]) -> None:
    line = catalog_line(plan(tmp_path, hubs, replace(RULES, max_new_files=1)), 1.23)
    assert line == (
        "2 active files in the catalog of 2026-01-01, 2 wait for a later night; 2 hubs scanned in 1.2 s"
    )


def test_a_full_disk_is_a_problem(tmp_path: Path, hubs: list[FakeHub]) -> None:
    full = replace(RULES, min_free_gb=1e9)
    with pytest.raises(DiskFull, match=r"^no room for 4 new files: .* \(the catalog was not changed\)$"):
        plan(tmp_path, hubs, full)
    crawl.write(tmp_path, plan(tmp_path, hubs, replace(RULES, max_new_files=1)))
    keep_problems(tmp_path, plan(tmp_path, hubs, full))
    (problem,) = read_problems(tmp_path)
    assert problem == "no room for 2 new files: free some space, or lower crawl.min_free_gb in params.yaml"
    keep_problems(tmp_path, plan(tmp_path, hubs, RULES))
    assert read_problems(tmp_path) == []


def test_a_hub_that_fails_is_a_problem(tmp_path: Path, hubs: list[FakeHub]) -> None:
    down = crawl.keep_stale(tmp_path, "civitai", RULES, HubError("hub civitai: answered 500"))
    scans = [crawl.scan_hub(tmp_path, hubs[0], RULES, DAY), down]
    assert problem_lines(crawl.reconcile(tmp_path, scans, RULES, DAY)) == [
        "hub civitai was not scanned, its listings are stale: answered 500"
    ]
