"""Scans of a hub: incremental and full scans, watermarks, and hubs that fail during a scan."""

import datetime
import uuid
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.crawl import watermarks
from autolora.errors import HubError
from autolora.hubs import Page
from autolora.params import CrawlParams
from tests.support.fake_hub import FakeHub
from tests.support.two_hubs import DAYS, INCREMENTAL, RULES, TwoHubs


def test_second_crawl_requests_only_pages_and_changes_nothing(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    assert (hubs.huggingface.requests["page"], hubs.huggingface.requests["model"]) == (2, 5)
    before = [path.stat() for path in catalog.catalog_files(hubs.root)]
    hubs.crawl(1)
    assert hubs.huggingface.requests == {"page": 2}
    after = [path.stat() for path in catalog.catalog_files(hubs.root)]
    assert [(file.st_mtime_ns, file.st_ino) for file in after] == [
        (file.st_mtime_ns, file.st_ino) for file in before
    ]


def test_incremental_scan_stops_at_the_watermark_with_some_overlap(hubs: TwoHubs) -> None:
    hubs.put_many(30, first_hour=100)
    hubs.crawl(8, INCREMENTAL)
    assert hubs.huggingface.requests["page"] == 12
    hubs.huggingface.put("new/one", 131)
    listings = hubs.crawl(9, INCREMENTAL)
    assert hubs.huggingface.requests == {"page": 3, "model": 1}
    assert listings["new/one"].first_seen == DAYS[9] and len(listings) == 37


def test_rejected_models_advance_the_watermark(hubs: TwoHubs) -> None:
    hubs.crawl(0, INCREMENTAL)
    hubs.put_many(30, first_hour=20, base="flux.2")
    hubs.crawl(5, INCREMENTAL)
    assert hubs.huggingface.requests["page"] > 10
    assert len(hubs.crawl(6, INCREMENTAL)) == 6
    assert hubs.huggingface.requests == {"page": 2}


def test_future_date_does_not_advance_the_watermark_beyond_today(hubs: TwoHubs) -> None:
    hubs.huggingface.put("eve/late", 24 * 365)
    hubs.crawl(0, INCREMENTAL)
    assert watermarks.read(hubs.root)["huggingface"].newest == watermarks.end_of(DAYS[0])
    hubs.huggingface.put("new/one", 30)
    assert "new/one" in hubs.crawl(1, INCREMENTAL)


def test_watermark_stays_before_a_model_that_failed(hubs: TwoHubs) -> None:
    hubs.crawl(0, INCREMENTAL)
    hubs.put_many(30, first_hour=20)
    hubs.huggingface.broken_models.add("more/2")
    assert "more/2" not in hubs.crawl(5, INCREMENTAL)
    hubs.huggingface.broken_models.clear()
    assert hubs.crawl(6, INCREMENTAL)["more/2"].status == "listed"


@pytest.mark.parametrize("damage", ["lost", "truncated", "of another catalog"])
def test_full_scan_without_valid_watermarks(hubs: TwoHubs, damage: str) -> None:
    hubs.put_many(30, first_hour=100)
    hubs.crawl(0, INCREMENTAL)
    path = hubs.root / watermarks.PATH
    if damage == "lost":
        path.unlink()
    elif damage == "truncated":
        path.write_text(path.read_text()[:-20])
    else:
        catalog.write(hubs.root, catalog.read_all(hubs.root)[1:])
    hubs.crawl(1, INCREMENTAL)
    assert hubs.huggingface.requests["page"] == 12


def test_listings_of_a_hub_that_is_down_are_stale_and_other_hubs_are_updated(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)
    hubs.huggingface.down = True
    hubs.civitai.put("78", 60)
    for day in (1, 2):
        after = hubs.crawl(day)
        assert after.keys() == {*before, "78"}
        stale_since = {listing.stale_since for listing in after.values() if listing.hub == "huggingface"}
        assert stale_since == {DAYS[1]}
        assert {listing.status for listing in after.values()} == {"listed"}
        assert after["78"].stale_since is None
    hubs.huggingface.down = False
    assert {listing.stale_since for listing in hubs.crawl(3).values()} == {None}


def test_catalog_is_unchanged_if_all_hubs_are_down(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    before = catalog.digest(hubs.root)
    hubs.huggingface.down = hubs.civitai.down = True
    with pytest.raises(HubError, match=r"cannot be reached \| .* \(the catalog was not changed\)"):
        hubs.crawl(1)
    assert catalog.digest(hubs.root) == before


def test_list_that_ends_early_adds_what_was_read_and_loses_nothing(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    hubs.huggingface.put("dan/new", 60)
    hubs.huggingface.broken_pages.add(1)
    after = hubs.crawl(1)
    assert after["dan/new"].status == "listed"
    assert {id for id, listing in after.items() if listing.stale_since} == {"ann/ink", "ann/neon", "bob/cat"}
    assert watermarks.read(hubs.root)["huggingface"].last_full_scan == DAYS[0]
    hubs.huggingface.broken_pages.clear()
    assert {listing.stale_since for listing in hubs.crawl(2).values()} == {None}


def test_empty_list_of_a_known_hub_is_an_error(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)
    hubs.huggingface.models.clear()
    with pytest.raises(HubError, match="lists no models, but the catalog has 5 files of it"):
        crawl.scan_hub(hubs.root, hubs.huggingface, RULES, DAYS[1])
    assert hubs.crawl(1).keys() == before.keys()


def test_failing_model_does_not_affect_the_others(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    hubs.huggingface.put("ann/ink", 60)
    hubs.huggingface.put("dan/new", 61)
    hubs.huggingface.broken_models.add("ann/ink")
    after = hubs.crawl(1)
    assert after["ann/ink"].stale_since == DAYS[1] and after["ann/ink"].version == "0"
    assert after["dan/new"].status == "listed" and after["ann/neon"].stale_since is None


def test_models_are_skipped_after_several_failures_in_a_row(hubs: TwoHubs) -> None:
    hubs.put_many(30, first_hour=20)
    hubs.huggingface.broken_models = set(hubs.huggingface.models)
    listings = hubs.crawl(0)
    assert hubs.huggingface.requests["model"] == 5 and len(listings) == 31
    assert [id for id, listing in listings.items() if listing.is_active] == ["77"]
    hubs.huggingface.broken_models.clear()
    assert set(hubs.statuses(1).values()) == {"listed"}


def test_list_that_repeats_a_cursor_ends(hubs: TwoHubs) -> None:
    class RepeatingHub(FakeHub):
        def page(self, *arguments: Any) -> Any:
            return replace(super().page(*arguments), next="3")

    hub = RepeatingHub("huggingface", models=hubs.huggingface.models)
    scan = crawl.scan_hub(hubs.root, hub, RULES, DAYS[0])
    assert "repeats itself" in scan.problems[-1] and len(scan.listings) == 3


def test_endless_list_is_abandoned(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    with patch.object(FakeHub, "page", lambda *_: Page(models=(), next=uuid.uuid4().hex, problems=())):
        scan = hubs.scan(hubs.huggingface, 1)
    assert "no new model" in scan.problems[-1]
    plan = crawl.reconcile(hubs.root, [scan], RULES, DAYS[1])
    assert {listing.stale_since for listing in plan.listings if listing.hub == "huggingface"} == {DAYS[1]}


def test_models_that_move_between_pages_are_listed_once_or_missing_for_a_day(hubs: TwoHubs) -> None:
    class MovingHub(FakeHub):
        def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Any:
            page = super().page(rules, cursor, today)
            if cursor is None and "dan/new" not in self.models:
                self.put("dan/new", 60)  # pushes one entry to the next page
            elif cursor is None:
                self.put("ann/ink", 70)  # leaves the next page for the page that was read
            return page

    hubs.huggingface = MovingHub("huggingface", models=hubs.huggingface.models)
    assert len(hubs.crawl(0)) == 6
    assert hubs.statuses(1)["ann/ink"] == "missing"
    assert hubs.statuses(2)["ann/ink"] == "listed" and len(catalog.read_all(hubs.root)) == 7
