"""The daily budget: which new files are admitted, and several crawls of one day."""

from collections.abc import Mapping
from dataclasses import replace
from unittest.mock import patch

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.storage.hashes import hash_value
from tests.support.two_hubs import DAYS, TwoHubs, budget


def num_queued(statuses: Mapping[str, str]) -> int:
    """Return the number of queued listings."""
    return list(statuses.values()).count("queued")


def test_queue_is_ordered_by_first_day_then_by_downloads(hubs: TwoHubs) -> None:
    rules = budget(files=2)
    hubs.huggingface.put("cat/sea", 4, downloads=500)
    listed = ["cat/sea", "77"]
    for day, admitted in enumerate((["ann/ink", "ann/neon"], ["bob/cat", "bob/dog"], ["zoe/hit"]), 1):
        statuses = hubs.statuses(day, rules)
        assert {id for id, status in statuses.items() if status == "listed"} == {*listed}
        hubs.huggingface.put("zoe/hit", 60, downloads=10**6)
        listed += admitted
    assert {listing.id for listing in catalog.read_active(hubs.root)} == {*listed} - {"zoe/hit"}


def test_budget_counts_bytes_and_captions(hubs: TwoHubs) -> None:
    assert num_queued(hubs.statuses(0, budget(gb=3000 / 1e9))) == 3
    assert num_queued(hubs.statuses(1, budget(captions=3))) == 2


def test_file_above_the_whole_budget_stays_queued_and_blocks_no_other(hubs: TwoHubs) -> None:
    hubs.huggingface.put("ann/ink", 0, downloads=10**6, size=5000)
    rules = budget(gb=2000 / 1e9)
    scans = [hubs.scan(hubs.huggingface, 0, rules)]
    plan = crawl.reconcile(hubs.root, scans, rules, DAYS[0])
    assert [listing.id for listing in plan.admission.oversized] == ["ann/ink"]
    assert sum(listing.is_active for listing in plan.listings) == 2
    assert plan.admission.queued["huggingface"].size == 5000 + 1000  # the last one is partial


def test_file_on_two_hubs_is_charged_once(hubs: TwoHubs) -> None:
    ink = hubs.huggingface.models["ann/ink"].partial_listings[0]
    hubs.civitai.put("77", 1, sha256=ink.sha256)
    statuses = hubs.statuses(0, budget(files=1))
    assert (statuses["ann/ink"], statuses["77"]) == ("listed", "listed")
    assert num_queued(statuses) == 4


def test_queue_of_a_hub_that_is_down_waits(hubs: TwoHubs) -> None:
    hubs.huggingface.put("ann/ink", 0, downloads=500)
    hubs.crawl(0, budget(files=1))
    hubs.huggingface.down = True
    statuses = hubs.statuses(1, budget(files=1))
    assert statuses["77"] == "listed" and num_queued(statuses) == 4


def test_new_images_of_active_files_are_charged_first(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    rules = budget(captions=3)
    ink = hubs.huggingface.models["ann/ink"].partial_listings[0]
    rendering = replace(ink.renderings[0], url=ink.url + "2.png", sha256=hash_value("another"))
    hubs.huggingface.put("ann/ink", 30, sha256=ink.sha256, renderings=(*ink.renderings, rendering))
    hubs.huggingface.put("zoe/new", 31)
    listings = hubs.crawl(1, rules)
    assert (listings["ann/ink"].status, listings["zoe/new"].status) == ("listed", "queued")
    assert hubs.statuses(2, rules)["zoe/new"] == "listed"


def test_second_crawl_of_a_day_has_no_budget_of_its_own(hubs: TwoHubs) -> None:
    rules = budget(files=2)
    first = hubs.statuses(0, rules)
    assert hubs.statuses(0, rules) == hubs.statuses(0, rules) == first
    assert list(hubs.statuses(1, rules).values()).count("listed") == 4


def test_second_crawl_of_a_day_keeps_the_files_admitted_by_the_first(hubs: TwoHubs) -> None:
    rules = budget(files=2)
    first = hubs.statuses(0, rules)
    hubs.huggingface.put("zoe/hit", 20, downloads=10**6)
    assert hubs.statuses(0, rules) == first | {"zoe/hit": "queued"}
    hubs.civitai.down = True
    assert hubs.statuses(0, rules) == first | {"zoe/hit": "queued"}
    hubs.huggingface.down, hubs.civitai.down = True, False
    assert hubs.statuses(0, rules) == first | {"zoe/hit": "queued"}


def test_crawl_killed_between_day_start_and_catalog_spends_nothing_twice(hubs: TwoHubs) -> None:
    rules = budget(files=2)
    first = hubs.statuses(0, rules)
    scans = [hubs.scan(hub, 0, rules) for hub in (hubs.huggingface, hubs.civitai)]
    plan = crawl.reconcile(hubs.root, scans, rules, DAYS[0])
    with (
        patch("autolora.catalog.store.write", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        crawl.write(hubs.root, plan)
    assert hubs.statuses(0, rules) == first


def test_catalog_of_another_branch_starts_the_day_again(hubs: TwoHubs) -> None:
    rules = budget(files=2)
    hubs.crawl(0, rules)
    other = TwoHubs(hubs.root / "other")
    other.crawl(0)
    catalog.write(hubs.root, catalog.read_all(other.root))  # as git checkout of another branch does
    assert set(hubs.statuses(0, rules).values()) == {"listed"}
