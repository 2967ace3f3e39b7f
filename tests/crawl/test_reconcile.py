"""Reconciliation of a scan with the catalog: missing, withdrawn and stale listings."""

import datetime
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import pytest

from autolora.catalog import store as catalog
from autolora.hubs import Availability, Model, Page
from autolora.params import CrawlParams
from autolora.records import Listing, Permissions
from tests.support.fake_hub import FakeHub
from tests.support.two_hubs import DAYS, RULES, TwoHubs


def file_statuses(hubs: TwoHubs, id: str) -> dict[str, str]:
    """Return file -> status of a model's listings in the catalog."""
    return {listing.file: listing.status for listing in catalog.read_all(hubs.root) if listing.id == id}


def test_truncated_list_withdraws_no_available_model(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    hubs.huggingface.hidden = {"ann/ink", "ann/neon", "bob/cat"}
    for day in (1, 2, 3):
        statuses = hubs.statuses(day)
        assert [statuses[id] for id in sorted(hubs.huggingface.hidden)] == ["missing"] * 3


def test_withdrawal_in_the_list_or_on_the_model_page_is_a_tombstone_at_once(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)
    models = hubs.huggingface.models
    models["ann/ink"] = replace(models["ann/ink"], partial_listings=(), withdrawn=True)
    hubs.huggingface.hidden |= {"ann/neon", "bob/cat"}
    hubs.huggingface.availabilities["ann/neon"] = [Availability.WITHDRAWN]
    hubs.huggingface.availabilities["bob/cat"] = [Availability.NOT_FOUND, Availability.NOT_FOUND]
    after = hubs.crawl(1)
    withdrawn = {id for id, listing in after.items() if listing.status == "withdrawn"}
    assert withdrawn == {"ann/ink", "ann/neon", "bob/cat"}
    for id in withdrawn:
        assert after[id] == replace(before[id], status="withdrawn", withdrawn=DAYS[1])
    assert {listing.id for listing in catalog.read_active(hubs.root)} == {"bob/dog", "cat/sea", "77"}
    assert hubs.crawl(2) == after


def test_transient_404_withdraws_nothing(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    hubs.huggingface.hidden.add("ann/ink")
    hubs.huggingface.availabilities["ann/ink"] = [Availability.NOT_FOUND, Availability.AVAILABLE]
    assert hubs.statuses(1)["ann/ink"] == "missing"
    hubs.huggingface.availabilities["ann/ink"] = [Availability.NOT_FOUND, None]
    listing = hubs.crawl(2)["ann/ink"]
    assert (listing.status, listing.stale_since) == ("missing", DAYS[2])


def test_model_that_is_only_missing_from_the_list_is_a_tombstone_the_second_time(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)
    hubs.huggingface.hidden.add("ann/ink")
    assert hubs.statuses(1)["ann/ink"] == "missing"
    assert "ann/ink" in {listing.id for listing in catalog.read_active(hubs.root)}
    assert hubs.statuses(2)["ann/ink"] == "withdrawn"
    hubs.huggingface.hidden.clear()
    assert hubs.crawl(3) == before


def test_unreadable_entry_is_stale_and_not_missing(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    hubs.huggingface.unreadable.add("ann/ink")
    for day in (1, 2, 3):
        listing = hubs.crawl(day)["ann/ink"]
        assert (listing.status, listing.stale_since) == ("listed", DAYS[1])
    assert hubs.huggingface.requests["availability"] == 0


@pytest.mark.parametrize(
    ("deleted", "unreadable"),
    [("a", "ann/ink"), ("bob/cat", "bob/cat-v2"), ("771", "77123"), ("date", "x/y")],
)
def test_deleted_model_is_withdrawn_even_if_its_id_is_part_of_an_unreadable_one(
    hubs: TwoHubs, deleted: str, unreadable: str
) -> None:
    hubs.huggingface.models.clear()
    for hour, id in enumerate((deleted, unreadable, "cat/sea", "cat/tree")):
        hubs.huggingface.put(id, hour)
    hubs.crawl(0)
    hubs.huggingface.unreadable.add(unreadable)
    del hubs.huggingface.models[deleted]
    listings = hubs.crawl(1)
    assert {id: (listing.status, listing.stale_since) for id, listing in listings.items()} == {
        deleted: ("withdrawn", None),
        unreadable: ("listed", DAYS[1]),
        "cat/sea": ("listed", None),
        "cat/tree": ("listed", None),
        "77": ("listed", None),
    }


def test_file_that_is_missing_once_is_not_withdrawn_if_the_list_names_no_files(hubs: TwoHubs) -> None:
    class HubWithoutFileNames(FakeHub):
        def page(self, rules: CrawlParams, cursor: str | None, today: datetime.date) -> Page:
            page = super().page(rules, cursor, today)
            models = [
                replace(
                    model,
                    partial_listings=tuple(
                        replace(listing, file="", url="") for listing in model.partial_listings
                    ),
                )
                for model in page.models
            ]
            return replace(page, models=tuple(models))

        def complete_listings(
            self, model: Model, rules: CrawlParams, known: Mapping[str, Listing]
        ) -> tuple[Listing, ...]:
            self.requests["model"] += bool(model.id not in {listing.id for listing in known.values()})
            return () if model.id in self.hidden_files else self.models[model.id].partial_listings

        hidden_files: ClassVar[set[str]] = set()

    hub = hubs.huggingface = HubWithoutFileNames("huggingface", models=hubs.huggingface.models)
    hubs.crawl(0)
    assert hub.requests["model"] == 5
    hub.hidden_files.add("ann/ink")
    assert hubs.statuses(1)["ann/ink"] == "missing" and hub.requests["model"] == 0
    del hub.models["ann/ink"]
    assert hubs.statuses(2)["ann/ink"] == "withdrawn"
    hub.put("bob/cat", 40, file="other.safetensors")
    assert file_statuses(hubs, "bob/cat") == {"lora.safetensors": "listed"}
    for day, status in ((3, "missing"), (4, "withdrawn")):
        hubs.crawl(day)
        expected = {"lora.safetensors": status, "other.safetensors": "listed"}
        assert file_statuses(hubs, "bob/cat") == expected


def test_listed_model_without_files_is_checked(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    models = hubs.huggingface.models
    models["ann/ink"] = replace(models["ann/ink"], partial_listings=())
    assert hubs.statuses(1)["ann/ink"] == "missing"
    assert hubs.statuses(2)["ann/ink"] == "withdrawn"


def test_missing_model_that_is_listed_again_starts_over(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    for day, hidden in ((1, {"ann/ink"}), (2, set()), (3, {"ann/ink"})):
        hubs.huggingface.hidden = hidden
        assert hubs.statuses(day)["ann/ink"] == ("missing" if hidden else "listed")


def test_file_that_its_model_no_longer_lists_is_a_tombstone_the_second_time(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    hubs.huggingface.put("ann/ink", 60, file="other.safetensors")
    for day, status in ((1, "missing"), (2, "withdrawn")):
        hubs.crawl(day)
        expected = {"lora.safetensors": status, "other.safetensors": "listed"}
        assert file_statuses(hubs, "ann/ink") == expected


def test_stricter_rule_removes_nothing_from_a_tombstone(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    del hubs.huggingface.models["ann/ink"]
    tombstone = hubs.crawl(1)["ann/ink"]
    strict = replace(RULES, licenses=("none",), max_renderings=0, max_nsfw_level="none")
    assert tombstone.renderings and hubs.crawl(2, strict)["ann/ink"] == tombstone


def test_tombstone_of_an_earlier_version_without_metadata_is_read_and_returns(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)["ann/ink"]
    rows = [
        replace(
            listing, status="withdrawn", withdrawn=DAYS[0], url="", size=None, license=None, base_model=None,
            base=None, renderings=(), downloads=None, permissions=Permissions(),
        ) if listing.id == "ann/ink" else listing
        for listing in catalog.read_all(hubs.root)
    ]  # fmt: skip
    catalog.write(hubs.root, rows)
    assert catalog.read_all(hubs.root) == rows
    assert hubs.crawl(3)["ann/ink"] == before
