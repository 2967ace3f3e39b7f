"""The journal of an unfinished scan: a crawl resumes after the pages and models that were read."""

from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from tests.support.fake_hub import FakeHub
from tests.support.two_hubs import DAYS, RULES, TwoHubs


@pytest.mark.parametrize("damage", ["killed", "damaged", "another day"])
def test_resumes_a_killed_crawl_of_the_same_day(hubs: TwoHubs, damage: str) -> None:
    hubs.put_many(30, first_hour=100)
    scan = crawl.scan_hub(hubs.root, hubs.huggingface, RULES, DAYS[0])
    assert scan.finished_journal and scan.finished_journal.path
    header, *lines = scan.finished_journal.path.read_text().splitlines(keepends=True)
    pages = [line for line in lines if line.startswith('{"page"')][:8]
    completed = [line for line in lines if line.startswith('{"completed"')][:20]
    torn = '{"page":{"mod' if damage == "killed" else "}}}\n" if damage == "damaged" else ""
    scan.finished_journal.path.write_text("".join([header, *pages, *completed, torn]))
    hubs.crawl(1 if damage == "another day" else 0)
    expected = {"page": 4, "model": 15} if damage == "killed" else {"page": 12, "model": 35}
    assert hubs.huggingface.requests == expected
    assert len(catalog.read_active(hubs.root)) == 36
    assert not list((hubs.root / "cache/crawl").iterdir())


def test_restarts_the_list_if_its_cursor_is_rejected(hubs: TwoHubs) -> None:
    hubs.huggingface.broken_pages.add(1)
    hubs.crawl(0)
    hubs.crawl(0)
    assert hubs.huggingface.requests["page"] == 3
    hubs.huggingface.broken_pages.clear()
    assert len(hubs.crawl(0)) == 6


def test_resumed_scan_remembers_unreadable_entries(tmp_path: Path) -> None:
    """The day's second scan resumes from the journal; the unreadable entry is on a page that was read before."""
    hub = one_model_per_page(tmp_path, "a", "b", "c", "d")
    hub.unreadable.add("d")
    hub.broken_pages.add(2)
    scan = crawl.scan_hub(tmp_path, hub, RULES, DAYS[1])
    assert scan.finished_journal is None and "ended early" in scan.problems[-1]
    hub.broken_pages.clear()
    hub.requests.clear()
    scan = crawl.scan_hub(tmp_path, hub, RULES, DAYS[1])
    crawl.write(tmp_path, crawl.reconcile(tmp_path, [scan], RULES, DAYS[1]))
    (listing,) = (listing for listing in catalog.read_all(tmp_path) if listing.id == "d")
    assert (hub.requests["page"], hub.requests["availability"]) == (2, 0)
    assert (listing.status, listing.stale_since) == ("listed", DAYS[1])


def test_journal_without_unreadable_entries_is_discarded(tmp_path: Path) -> None:
    hub = FakeHub(page_size=1)
    for hour, id in enumerate("abc"):
        hub.put(id, hour)
    hub.unreadable.add("c")
    hub.broken_pages.add(1)
    crawl.scan_hub(tmp_path, hub, RULES, DAYS[0])
    (path,) = tmp_path.rglob("crawl/*.jsonl")
    text = path.read_text()
    assert ',"unreadable":["c"]' in text
    path.write_text(text.replace(',"unreadable":["c"]', ""))
    hub.broken_pages.clear()
    hub.requests.clear()
    crawl.scan_hub(tmp_path, hub, RULES, DAYS[0])
    assert hub.requests["page"] == 3


def one_model_per_page(root: Path, *ids: str) -> FakeHub:
    """Return a hub that lists one model per page and was crawled on the first day."""
    hub = FakeHub(page_size=1)
    for hour, id in enumerate(ids):
        hub.put(id, hour)
    scan = crawl.scan_hub(root, hub, RULES, DAYS[0])
    crawl.write(root, crawl.reconcile(root, [scan], RULES, DAYS[0]))
    return hub
