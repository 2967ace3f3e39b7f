"""The facts about one adapter: found by any name, with all its sources, and the reason if it is not active."""

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.catalog.failed_items import NOT_REQUESTED, FailedItem, record
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.errors import MissingArtifact
from autolora.refresh.outcomes import TURN
from autolora.show.facts import (
    describe_listing,
    describe_maturity,
    describe_permissions,
    describe_verdict,
    facts,
)
from autolora.show.lookup import lookup
from tests.support.synthetic_repo import DAY, make_adapter, write_repository
from tests.support.tiny_pool import RULES
from tests.support.two_sources import ADAPTER, HUGGINGFACE, write_two_sources

LATER = DAY + datetime.timedelta(days=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A dataset of two files, the first listed by two hubs."""
    write_two_sources(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", [HUGGINGFACE.id, "civitai:618692", ADAPTER.sha256[:8], "618692/ink.safetensors"]
)
def test_any_name_finds_the_adapter_with_all_sources(root: Path, name: str) -> None:
    adapter = lookup(root, name, RULES)
    assert [listing.hub for listing in adapter.listings] == ["civitai", "huggingface"]
    assert describe_verdict(adapter) == "accepted" and adapter.sources.nsfw_level == "mature"
    text = describe_listing(adapter.listings[0])
    assert "civitai:618692/ink.safetensors: listed" in text and "commercial use not allowed" in text
    assert describe_permissions(adapter.sources.permissions) == (
        "commercial use not allowed, derivatives not reported, attribution required"
    )


def test_the_beginning_of_a_hub_is_not_a_name(root: Path) -> None:
    listing = replace(make_adapter("neon", 7).listing, sha256=None, status="queued")
    catalog.write(root, [listing])
    assert listing.key.startswith("huggingface:")
    with pytest.raises(MissingArtifact, match="no adapter 'hugging'"):
        lookup(root, "hugging", RULES)
    assert lookup(root, listing.id, RULES).listings == (listing,)


def test_withdrawn_adapter_has_all_its_facts_and_the_reason(root: Path) -> None:
    withdrawn = replace(HUGGINGFACE, hub="civitai", status="withdrawn", withdrawn=LATER)
    write_repository(root, [replace(ADAPTER, listing=withdrawn)])
    values = facts(lookup(root, HUGGINGFACE.id, RULES))
    assert values["verdict"] == f"none: withdrawn, noticed on {LATER}"
    assert "took it down" in values["inactive because"] and values["sha256"] == ADAPTER.sha256
    assert values["split"] in ("train", "test")
    assert {"size", "license", "maturity", "trigger words"} <= values.keys()
    assert values["renderings"] == len(HUGGINGFACE.renderings)
    assert f"withdrawn, noticed on {LATER}; license {HUGGINGFACE.license}" in values["sources"]
    with pytest.raises(MissingArtifact, match="no adapter"):
        lookup(root, "neon/none", RULES)


def test_adapter_that_was_taken_down_has_the_day_and_the_reason(root: Path) -> None:
    taken_down = Takedown(
        kind="weights",
        sha256=ADAPTER.sha256,
        hub="",
        id="",
        file="",
        reason="request of the author",
        date=LATER,
    )
    takedowns.write(root, Takedowns((taken_down,)))
    write_repository(root, [replace(ADAPTER, listing=Takedowns((taken_down,)).apply(ADAPTER.listing))])
    values = facts(lookup(root, ADAPTER.sha256[:8], RULES))
    assert values["verdict"] == f"none: taken down on {LATER} (request of the author)"
    assert "its content is erased" in values["inactive because"]
    assert "the hub" not in values["inactive because"]


def test_tombstone_of_an_earlier_version_has_no_metadata(root: Path) -> None:
    withdrawn = replace(HUGGINGFACE, status="withdrawn", withdrawn=LATER, url="", size=None, renderings=())
    write_repository(root, [replace(ADAPTER, listing=withdrawn)])
    values = facts(lookup(root, HUGGINGFACE.id, RULES))
    assert values["verdict"] == f"none: withdrawn, noticed on {LATER}"
    assert not {"size", "license", "maturity", "trigger words", "sources"} & values.keys()


def test_reason_why_an_adapter_is_queued(root: Path) -> None:
    queued = make_adapter("chalk", 2)
    listing = replace(queued.listing, status="queued")
    write_repository(root, [replace(queued, listing=listing)])
    adapter = lookup(root, listing.id, RULES)
    assert describe_verdict(adapter) == "none: queued" and adapter.inactive_reason == TURN
    download = FailedItem(
        stage="pool", key=listing.key, hub=listing.hub, id=listing.id, name=f"{listing.id}/{listing.file}",
        reason="404", last_attempt=DAY,
    )  # fmt: skip
    record(root, "pool", [download], {listing.key}, DAY)
    assert lookup(root, listing.id, RULES).inactive_reason == (
        f"the download or reading failed on {DAY} (404); next attempt on {LATER}"
    )
    record(root, "pool", [replace(download, failed_attempts=0, reason=NOT_REQUESTED)], {listing.key}, LATER)
    assert "failed on" not in lookup(root, listing.id, RULES).inactive_reason


def test_stale_queued_listing_waits_for_a_scan(root: Path) -> None:
    queued = make_adapter("chalk", 2)
    listing = replace(queued.listing, status="queued", stale_since=LATER)
    write_repository(root, [replace(queued, listing=listing)])
    adapter = lookup(root, listing.id, RULES)
    assert describe_verdict(adapter) == f"none: queued, retained from an earlier crawl since {LATER}"
    assert adapter.inactive_reason.startswith(f"its hub could not be scanned since {LATER}")


def test_missing_images_are_distinguished_from_missing_files_and_ignored_keys(root: Path) -> None:
    def failed(key: str, name: str, id: str = HUGGINGFACE.id) -> FailedItem:
        reason = f"{key} answered 404"
        return FailedItem(
            stage="pool", key=key, hub=HUGGINGFACE.hub, id=id, name=name, reason=reason, last_attempt=DAY
        )

    assert "missing images" not in facts(lookup(root, HUGGINGFACE.id, RULES))
    images = [failed(f"u{number}", f"https://hub/{number}.png") for number in range(4)]
    file = failed("k", f"{HUGGINGFACE.id}/new.safetensors")
    image_of_another_model = failed("o", "https://hub/o.png", id="ann/other")
    record(root, "pool", [*images, file, image_of_another_model], (), DAY)
    values = facts(lookup(root, HUGGINGFACE.id, RULES))
    assert (
        values["missing images"]
        == f"4, download or reading failed (u0 answered 404); next attempt on {LATER}"
    )
    assert values["ignored keys"] == "none" and "deferred" not in values
    record(root, "captions", [replace(images[3], stage="captions", reason="refused")], (), DAY)
    assert facts(lookup(root, HUGGINGFACE.id, RULES))["missing images"] == (
        f"3, download or reading failed (u0 answered 404); next attempt on {LATER}\n"
        f"1, caption failed (https://hub/3.png: refused); next attempt on {LATER}"
    )


@pytest.mark.parametrize(
    ("level", "nsfw", "phrase"),
    [
        ("none", False, "none (safe for work)"),
        ("explicit", True, "explicit (not safe for work)"),
        (None, True, "not safe for work, level not reported"),
        (None, False, "not reported"),
    ],
)
def test_maturity_phrase(level: str | None, nsfw: bool, phrase: str) -> None:
    assert describe_maturity(level, nsfw) == phrase
