"""Requests of the crawl for models: only those are requested that the crawl can admit, the others wait."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from autolora.catalog import store as catalog
from autolora.catalog.diff import keep_baseline
from autolora.crawl import stage as crawl
from autolora.hubs import Availability
from autolora.hubs.folder.client import Folder
from autolora.hubs.registry import open_hub
from autolora.params import CrawlParams
from autolora.records import Listing
from playground.hubs.crawl_requests import ROOT, incremental_rules, local_hubs
from playground.hubs.server import running
from playground.hubs.state import Hub as Served
from tests.support.fake_hub import FakeHub
from tests.support.two_hubs import DAYS, INCREMENTAL, TwoHubs

TWO_A_DAY = replace(INCREMENTAL, max_new_files=2)


@pytest.fixture
def hub(hubs: TwoHubs) -> FakeHub:
    """Return a hub of 35 models, with a page of all."""
    hubs.put_many(30, first_hour=20)
    hubs.huggingface.page_size = 100
    return hubs.huggingface


def crawl_one(root: Path, hub: FakeHub, day: int, rules: CrawlParams = TWO_A_DAY) -> dict[str, Listing]:
    """Crawl one hub on a day, with its requests counted from zero; return id -> listing, except rejected ones."""
    hub.requests.clear()
    scan = crawl.scan_hub(root, hub, rules, DAYS[day])
    crawl.write(root, crawl.reconcile(root, [scan], rules, DAYS[day]))
    return {row.id: row for row in catalog.read_all(root) if row.status != "rejected"}


def active(listings: dict[str, Listing]) -> set[str]:
    return {id for id, row in listings.items() if row.is_active}


def test_only_models_that_are_admitted_are_requested(tmp_path: Path, hub: FakeHub) -> None:
    rules = replace(TWO_A_DAY, newest=5)
    for day, (asked, num_active) in enumerate([(2, 2), (2, 4), (1, 5), (0, 5)]):
        listings = crawl_one(tmp_path, hub, day, rules)
        assert hub.requests == {"page": 1} | ({"model": asked} if asked else {})
        assert len(listings) == 5 and len(active(listings)) == num_active
        assert all(row.is_partial == (not row.is_active) for row in listings.values())
    assert {row.first_seen for row in listings.values()} == {DAYS[0]}


def test_without_a_limit_the_newest_are_requested_until_so_many_are_allowed(
    tmp_path: Path, hub: FakeHub
) -> None:
    hub.put("big/file", 70, size=10**12)
    rules = replace(INCREMENTAL, newest=3)
    assert active(crawl_one(tmp_path, hub, 0, rules)) == {"more/29", "more/28", "more/27"}
    assert hub.requests["model"] == 4


@pytest.mark.parametrize("full_scan_every_days", [1, 100])
def test_the_queue_ends_with_the_catalog_of_an_unlimited_crawl(
    tmp_path: Path, hub: FakeHub, full_scan_every_days: int
) -> None:
    rules = replace(
        INCREMENTAL,
        full_scan_every_days=full_scan_every_days,
        max_new_files=6,
    )
    asked = 0
    for day in range(7):
        crawl_one(tmp_path / "queue", hub, day, rules)
        asked += hub.requests["model"]
        assert hub.requests["availability"] == 0
        assert asked == min(6 * day + 6, 35)
    crawl_one(tmp_path / "all", hub, 0, INCREMENTAL)
    read = [catalog.read_all(tmp_path / name) for name in ("queue", "all")]
    assert read[0] == read[1] and asked == 35


def test_new_models_wait_behind_the_queue(tmp_path: Path, hub: FakeHub) -> None:
    first = active(crawl_one(tmp_path, hub, 0))
    hub.put("zoe/hit", 60, downloads=10**6)
    second = active(crawl_one(tmp_path, hub, 1))
    assert len(second) == 4 and first < second and "zoe/hit" not in second and hub.requests["model"] == 2


def test_changed_active_model_is_requested_at_once(tmp_path: Path, hub: FakeHub) -> None:
    keep_baseline(tmp_path)
    id = min(active(crawl_one(tmp_path, hub, 0)))
    hub.put(id, 200)
    listings = crawl_one(tmp_path, hub, 0)  # a second crawl of the refresh
    assert listings[id].version == "200" and not listings[id].is_partial
    assert hub.requests["model"] == 1


def test_changed_queued_model_keeps_its_place(tmp_path: Path, hub: FakeHub) -> None:
    listings = crawl_one(tmp_path, hub, 0)
    id = max(listings.keys() - active(listings))
    hub.put(id, 200)
    listing = crawl_one(tmp_path, hub, 1)[id]
    assert (listing.version, listing.is_partial, listing.first_seen) == ("200", True, DAYS[0])


def test_model_of_several_files_is_requested_once(tmp_path: Path, hub: FakeHub) -> None:
    first = hub.put("two/files", 300, downloads=10**6)
    second = replace(first, file="b.safetensors", url=f"{first.url}b", sha256="b" * 64)
    hub.models["two/files"] = replace(hub.models["two/files"], partial_listings=(first, second))
    rules = replace(TWO_A_DAY, max_new_files=1)
    for day, statuses in enumerate((["listed", "queued"], ["listed", "listed"])):
        crawl_one(tmp_path, hub, day, rules)
        rows = [row for row in catalog.read_all(tmp_path) if row.id == "two/files"]
        assert [row.status for row in rows] == statuses and not any(row.is_partial for row in rows)
        assert hub.requests["model"] == (1 if day == 0 else 0)


def test_model_that_fails_waits_and_blocks_no_other(tmp_path: Path, hub: FakeHub) -> None:
    waiting = sorted(id for id, row in crawl_one(tmp_path, hub, 0).items() if row.is_partial)
    hub.broken_models = {waiting[0]}
    listings = crawl_one(tmp_path, hub, 1)
    assert len(active(listings)) == 4 and listings[waiting[0]].stale_since == DAYS[1]
    hub.broken_models.clear()
    assert waiting[0] in active(crawl_one(tmp_path, hub, 2))


def test_queued_model_that_is_gone_is_withdrawn_by_the_next_full_scan(tmp_path: Path, hub: FakeHub) -> None:
    waiting = sorted(id for id, row in crawl_one(tmp_path, hub, 0).items() if row.is_partial)
    hub.availabilities[waiting[0]] = [Availability.NOT_FOUND] * 2
    del hub.models[waiting[0]]
    with patch.object(FakeHub, "complete_listings", _without_files):
        listings = crawl_one(tmp_path, hub, 1)
        assert waiting[0] not in active(listings) and len(active(listings)) == 4
    full = replace(TWO_A_DAY, full_scan_every_days=1)
    assert crawl_one(tmp_path, hub, 2, full)[waiting[0]].status == "withdrawn"
    assert hub.requests["availability"] == 2


def test_queued_file_that_turns_out_too_large_leaves_the_catalog(tmp_path: Path, hub: FakeHub) -> None:
    hub.page_size = 3
    waiting = sorted(id for id, row in crawl_one(tmp_path, hub, 0).items() if row.is_partial)
    model = hub.models[waiting[0]]
    hub.models[waiting[0]] = replace(
        model, partial_listings=(replace(model.partial_listings[0], size=10**12),)
    )
    for day in (1, 2):
        listings = crawl_one(tmp_path, hub, day)
        assert len(active(listings)) == 2 + 2 * day and waiting[0] not in listings
        assert hub.requests["model"] == (3 if day == 1 else 2)
        assert waiting[0] not in {row.id for row in catalog.read_all(tmp_path)}


def _without_files(
    hub: FakeHub, model: object, rules: object, known: dict[str, Listing]
) -> tuple[Listing, ...]:
    """Complete the models that the hub still has."""
    return COMPLETE(hub, model, rules, known) if model.id in hub.models else ()  # type: ignore[attr-defined,arg-type]


COMPLETE = FakeHub.complete_listings


@pytest.fixture(scope="module")
def endpoint() -> Iterator[tuple[Served, str]]:
    served = Served(ROOT / "playground/pool", day=1, page_size=10)
    with running(served) as url:
        yield served, url


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("huggingface", "tree"), ("civitai", "images"), ("modelscope", "tree"), ("folder", "")]
)
def test_every_hub_ends_with_the_catalog_of_an_unlimited_crawl(
    tmp_path: Path, endpoint: tuple[Served, str], name: str, kind: str
) -> None:
    served, url = endpoint
    hub = Folder(ROOT / "playground/pool") if name == "folder" else open_hub(name, local_hubs(url), {})
    rules = replace(incremental_rules(), hubs=(name,), max_renderings=5)
    limited = replace(rules, max_new_files=30)
    requests = []
    for day in range(4):
        served.change({"reset": True})
        for root, used in ((tmp_path / "queue", limited), *([(tmp_path / "all", rules)] if day == 3 else [])):
            scan = crawl.scan_hub(root, hub, used, DAYS[day])
            requests.append(served.counts.kinds(name).get(kind, 0) if kind else 0)
            crawl.write(root, crawl.reconcile(root, [scan], used, DAYS[day]))
    rows = [catalog.read_all(tmp_path / root) for root in ("queue", "all")]
    assert [replace(row, first_seen=DAYS[3]) for row in rows[0]] == rows[1] and len(rows[1]) > 80
    if name in ("huggingface", "civitai"):
        assert requests[:3] == [30, 30, len(rows[1]) - 60]
