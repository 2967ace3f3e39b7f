"""Deferral of failed items by the crawl."""

from dataclasses import replace

from autolora.catalog import failed_items
from autolora.catalog.failed_items import FailedItem
from autolora.records import ListedRendering, Listing
from tests.support.two_hubs import DAYS, INCREMENTAL, TwoHubs


def record_failure(hubs: TwoHubs, key: str, id: str, day: int, was_in_pool: bool = False) -> None:
    """Record a failed download of a Hugging Face file or image."""
    download = FailedItem(
        stage="pool", key=key, hub="huggingface", id=id, name=id, reason="hash mismatch", was_in_pool=was_in_pool,
        last_attempt=DAYS[day],
    )  # fmt: skip
    failed_items.record(hubs.root, "pool", [download], {key}, DAYS[day])


def test_new_file_is_queued_until_its_next_attempt(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    late = hubs.huggingface.put("zoe/late", 30)
    hubs.crawl(1)
    record_failure(hubs, late.key, "zoe/late", 1)
    assert hubs.statuses(1)["zoe/late"] == "queued" and not hubs.huggingface.requests["model"]
    assert hubs.statuses(2)["zoe/late"] == "listed" and hubs.huggingface.requests["model"] == 1
    record_failure(hubs, late.key, "zoe/late", 2)
    assert [hubs.statuses(day)["zoe/late"] for day in (2, 3, 4)] == ["queued", "queued", "listed"]


def test_new_version_is_replaced_by_the_former_version(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)["ann/ink"]
    version = hubs.huggingface.put("ann/ink", 30)
    assert hubs.crawl(1)["ann/ink"].key == version.key
    record_failure(hubs, version.key, "ann/ink", 1)
    after = hubs.crawl(1)["ann/ink"]
    assert after == replace(before, stale_since=DAYS[1])
    assert hubs.crawl(2)["ann/ink"].key == version.key


def test_new_image_is_left_out(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    late = hubs.huggingface.put("zoe/late", 30)
    hubs.crawl(1)
    record_failure(hubs, late.renderings[0].key, "zoe/late", 1)
    listing = hubs.crawl(1)["zoe/late"]
    assert (listing.status, listing.renderings) == ("listed", ())
    assert hubs.crawl(2)["zoe/late"].renderings == late.renderings


def test_files_and_images_that_were_in_the_pool_are_never_deferred(hubs: TwoHubs) -> None:
    listing = hubs.crawl(0)["ann/ink"]
    record_failure(hubs, listing.key, "ann/ink", 1, was_in_pool=True)
    record_failure(hubs, listing.renderings[0].key, "ann/ink", 1, was_in_pool=True)
    assert hubs.crawl(1)["ann/ink"] == listing


def test_file_that_was_listed_for_days_but_never_in_the_pool_is_deferred(hubs: TwoHubs) -> None:
    hubs.crawl(0)
    late = hubs.huggingface.put("zoe/late", 30)
    hubs.crawl(1)  # the refresh was killed before the stage `pool`
    hubs.crawl(2)
    record_failure(hubs, late.key, "zoe/late", 2)
    assert hubs.statuses(2)["zoe/late"] == "queued"


def test_nothing_active_is_deferred_if_most_downloads_failed(hubs: TwoHubs) -> None:
    before = hubs.crawl(0)
    for listing in before.values():
        for key in (listing.key, listing.renderings[0].key):
            download = FailedItem(
                stage="pool", key=key, hub=listing.hub, id=listing.id, name=listing.id, reason="answered 500",
                last_attempt=DAYS[1],
            )  # fmt: skip
            failed_items.record(hubs.root, "pool", [download], {key}, DAYS[1])
    hubs.huggingface.put("zoe/late", 30)
    assert hubs.crawl(1).keys() == {*before, "zoe/late"}
    assert set(hubs.statuses(1).values()) == {"listed"}


def test_deferred_image_returns_to_its_place_without_a_scan_of_its_model(hubs: TwoHubs) -> None:
    url = "https://huggingface/ann/many/"
    images = tuple(ListedRendering(url=f"{url}{n}.png", sha256=f"{n:064}", prompt=None) for n in range(5))
    hubs.huggingface.put("ann/many", -100, renderings=images)
    hubs.put_many(6, 10)  # fills the pages that an incremental scan reads
    rules = replace(INCREMENTAL, max_renderings=4)
    before = hubs.crawl(0, rules)["ann/many"]
    for number, image in enumerate((images[0], images[2])):
        item = FailedItem(
            stage="captions", key=image.key, hub="huggingface", id="ann/many", name=image.url, reason="refused",
            last_attempt=DAYS[number],
        )  # fmt: skip
        failed_items.record(hubs.root, "captions", [item], {item.key}, DAYS[number])
        hubs.crawl(number, rules)
    expected = {1: (*images[:2], images[3]), 2: images[:4], 3: images[:4]}  # the first is due on day 1
    for day, renderings in expected.items():
        listing = hubs.crawl(day, rules)["ann/many"]
        assert listing.renderings == renderings
        assert Listing.from_row(listing.to_row()) == listing
    assert listing.digest == before.digest and listing == before
    assert not hubs.huggingface.requests["model"]
