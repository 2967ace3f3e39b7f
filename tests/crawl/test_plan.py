"""The plan of the next catalog: metadata of relisted files, order, first_seen, and the rules."""

from dataclasses import replace
from typing import Any

import pytest

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from tests.support.two_hubs import DAYS, RULES, TwoHubs


def test_new_and_changed_listings_are_updated(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)
    hubs.huggingface.put("ann/ink", 50, sha256=before["ann/ink"].sha256, license="cc0-1.0", downloads=99)
    hubs.huggingface.put("dan/new", 51)
    after = hubs.crawl(1)
    assert {id for id, listing in after.items() if listing.first_seen == DAYS[1]} == {"dan/new"}
    assert after["ann/ink"].license == "cc0-1.0" and after["ann/ink"].downloads == 10
    assert after["ann/ink"].digest != before["ann/ink"].digest
    assert after["ann/neon"] == before["ann/neon"]


def test_catalog_is_ordered_by_hub_then_by_id(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    ids = ["77", "ann/ink", "ann/neon", "bob/cat", "bob/dog", "cat/sea"]
    assert [listing.id for listing in catalog.read_active(hubs.root)] == ids


def test_file_keeps_its_first_day_if_it_moves_to_another_hub(hubs: TwoHubs) -> None:
    old = hubs.crawl(0)["ann/ink"]
    hubs.civitai.put("78", 60, sha256=old.sha256)
    del hubs.huggingface.models["ann/ink"]
    after = hubs.crawl(3)
    assert after["78"].first_seen == DAYS[0] and after["78"].key == old.key


@pytest.mark.parametrize(
    ("rule", "value", "fields"),
    [
        ("bases", ("flux.2",), {}),
        ("licenses", ("cc0-1.0",), {}),
        ("max_nsfw_level", "soft", {"nsfw": True, "nsfw_level": "mature"}),
        ("max_nsfw_level", "soft", {"nsfw": True}),
        ("persons", False, {"person": True}),
        ("minors", False, {"minor": True}),
        ("min_downloads", 11, {}),
        ("max_file_mb", 0.0005, {}),
        ("newest", 3, {}),
    ],
)
def test_changed_rule_applies_to_known_listings(
    hubs: TwoHubs, rule: str, value: Any, fields: dict[str, Any]
) -> None:
    permissive = replace(RULES, minors=True)
    hubs.huggingface.put("ann/ink", 0, **fields)
    assert "ann/ink" in hubs.crawl(0, permissive)
    strict = replace(RULES, **{rule: value})
    assert "ann/ink" not in hubs.crawl(1, strict)
    returned = hubs.crawl(2, replace(permissive, full_scan_every_days=100))["ann/ink"]
    assert returned.first_seen == DAYS[0], "a rejected listing keeps its first day"


def test_listings_of_a_hub_that_is_not_crawled_for_a_day_keep_their_first_day(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)
    crawl.write(hubs.root, crawl.reconcile(hubs.root, [hubs.scan(hubs.huggingface, 1)], RULES, DAYS[1]))
    statuses = {(listing.hub, listing.status) for listing in catalog.read_all(hubs.root)}
    assert statuses == {("huggingface", "listed"), ("civitai", "rejected")}
    assert {id: listing.first_seen for id, listing in hubs.crawl(2).items()} == {
        id: listing.first_seen for id, listing in before.items()
    }


def test_images_above_the_level_or_the_maximum_number_are_left_out(hubs: TwoHubs) -> None:
    rendering = hubs.huggingface.models["ann/ink"].partial_listings[0].renderings[0]
    levels = ("explicit", None, "none", "soft")
    renderings = tuple(
        replace(rendering, url=str(number), nsfw_level=level) for number, level in enumerate(levels)
    )
    hubs.huggingface.put("ann/ink", 0, renderings=renderings)
    assert hubs.crawl(0, replace(RULES, max_renderings=9))["ann/ink"].renderings == renderings
    hubs.huggingface.down = True
    listing = hubs.crawl(1, replace(RULES, max_nsfw_level="soft"))["ann/ink"]
    assert [rendering.nsfw_level for rendering in listing.renderings] == [None, "none"]


def test_unreported_values_pass_the_rules(hubs: TwoHubs) -> None:
    hubs.huggingface.put("ann/ink", 0, base=None, base_model=None, downloads=None, size=None, person=None)
    strict = replace(RULES, bases=("flux.1-dev",), min_downloads=5, max_file_mb=0.01, persons=False)
    assert hubs.crawl(0, strict)["ann/ink"].status == "listed"


def test_catalog_preserves_unusual_characters(hubs: TwoHubs) -> None:
    words = ("a\u2028b\x85c\x1d", "\U0001f408")
    hubs.huggingface.put("a/b", 9, trigger_words=words)
    assert hubs.crawl(0)["a/b"].trigger_words == words
