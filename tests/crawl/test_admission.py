"""Which new files a night admits: by crawl.max_new_files and crawl.min_free_gb, and several crawls of one night."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.crawl.plan import CatalogPlan
from autolora.errors import DiskFull
from tests.support.two_hubs import DAYS, RULES, TwoHubs, limited


def num_queued(statuses: Mapping[str, str]) -> int:
    """Return the number of queued listings."""
    return list(statuses.values()).count("queued")


def test_files_enter_by_first_day_then_by_downloads(hubs: TwoHubs) -> None:
    hubs.huggingface.put("cat/sea", 4, downloads=500)
    listed = ["77", "cat/sea"]
    for day, admitted in enumerate((["ann/ink"], ["ann/neon"], ["bob/cat"], ["bob/dog"], ["zoe/hit"])):
        statuses = hubs.statuses(day, limited(1))
        assert {id for id, status in statuses.items() if status == "listed"} == {*listed}
        hubs.huggingface.put("zoe/hit", 60, downloads=10**6)
        listed += admitted
    assert {listing.id for listing in catalog.read_active(hubs.root)} == {*listed} - {"zoe/hit"}


def test_a_large_hub_does_not_keep_out_a_small_one(hubs: TwoHubs) -> None:
    hubs.put_many(30, first_hour=-100)
    statuses = hubs.statuses(0, limited(2))
    assert statuses["77"] == "listed" and num_queued(statuses) == 33


def test_files_leave_space_free_by_their_sizes(hubs: TwoHubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its model is requested, a file counts as one of the largest size that may enter."""
    hubs.huggingface.put("ann/ink", 0, downloads=10**6, size=5000)
    hubs.civitai.put("77", 1, size=3000)
    rules = replace(RULES, min_free_gb=2.0, max_file_mb=0.005)

    def reconcile(room: int) -> CatalogPlan:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2 * 10**9 + room))
        scans = [hubs.scan(hub, 0, rules) for hub in (hubs.civitai, hubs.huggingface)]
        return crawl.reconcile(hubs.root, scans, rules, DAYS[0])

    with pytest.raises(DiskFull, match="no room for 6 new files"):
        reconcile(4_999)
    assert not hubs.huggingface.requests["model"]
    for room, requests, active in ((7_500, 1, 1), (30_000, 5, 6)):
        plan = reconcile(room)
        assert hubs.huggingface.requests["model"] == requests
        assert (sum(row.is_active for row in plan.listings), plan.without_room) == (active, 6 - active)


def test_file_on_two_hubs_counts_once(hubs: TwoHubs) -> None:
    ink = hubs.huggingface.models["ann/ink"].partial_listings[0]
    hubs.civitai.put("77", 1, sha256=ink.sha256)
    hubs.civitai.put("78", 0)
    statuses = hubs.statuses(0, limited(1))
    assert (statuses["ann/ink"], statuses["77"]) == ("listed", "listed")
    assert num_queued(statuses) == 5
    assert hubs.statuses(1, limited(1))["78"] == "listed"


def test_files_of_a_hub_that_is_down_wait(hubs: TwoHubs) -> None:
    hubs.crawl(0, limited(1))
    hubs.huggingface.down = True
    assert num_queued(hubs.statuses(1, limited(1))) == 4


def test_new_images_of_active_files_enter_at_once(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    ink = hubs.huggingface.models["ann/ink"].partial_listings[0]
    image = replace(ink.renderings[0], url=f"{ink.url}2.png", sha256="2" * 64)
    hubs.huggingface.put("ann/ink", 30, sha256=ink.sha256, renderings=(*ink.renderings, image))
    listing = hubs.crawl(1, limited(1))["ann/ink"]
    assert listing.status == "listed" and len(listing.renderings) == 2


def test_later_crawls_of_a_night_admit_nothing_more(hubs: TwoHubs) -> None:
    rules = limited(2)
    first = hubs.statuses(0, rules)
    assert hubs.statuses(0, rules) == hubs.statuses(0, rules) == first
    assert list(hubs.statuses(1, rules).values()).count("listed") == 5


def test_later_crawls_of_a_night_keep_what_the_first_admitted(hubs: TwoHubs) -> None:
    rules = limited(2)
    first = hubs.statuses(0, rules)
    hubs.huggingface.put("zoe/hit", 20, downloads=10**6)
    assert hubs.statuses(0, rules) == first | {"zoe/hit": "queued"}
    hubs.civitai.down = True
    assert hubs.statuses(0, rules) == first | {"zoe/hit": "queued"}
    hubs.huggingface.down, hubs.civitai.down = True, False
    assert hubs.statuses(0, rules) == first | {"zoe/hit": "queued"}


def test_a_night_that_failed_goes_on_and_admits_nothing_more(hubs: TwoHubs) -> None:
    first = hubs.statuses(0, limited(2))
    hubs.day = 1  # the baseline stays, as after a refresh without a release
    assert hubs.statuses(1, limited(2)) == first
