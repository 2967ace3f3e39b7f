"""A file that was taken down never becomes active again, whatever the hubs list."""

from dataclasses import replace

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.crawl import stage as crawl
from autolora.records import Listing
from autolora.refresh.crawl_summary import taken_down_lines
from tests.support.two_hubs import DAYS, RULES, TwoHubs


def take_down(hubs: TwoHubs, listing: Listing, **fields: object) -> None:
    row = Takedown(
        kind="weights", sha256=listing.sha256, hub=listing.hub, id=listing.id, file=listing.file, reason="asked",
        date=DAYS[1],
    )  # fmt: skip
    listed = Takedowns((replace(row, **fields),))  # type: ignore[arg-type]
    takedowns.write(hubs.root, listed)


def test_a_relisted_file_stays_withdrawn(hubs: TwoHubs) -> None:
    listing = hubs.crawl(0)["ann/ink"]
    take_down(hubs, listing)
    for day in (1, 2):
        after = hubs.crawl(day)
        assert (after["ann/ink"].status, after["ann/ink"].withdrawn) == ("withdrawn", DAYS[1])
        assert sum(item.is_active for item in after.values()) == 5
    hubs.huggingface.put("ann/ink", 90, sha256=listing.sha256, license="cc0-1.0")
    assert hubs.crawl(3)["ann/ink"].status == "withdrawn"


def test_the_report_names_it_as_long_as_the_hub_lists_it(hubs: TwoHubs) -> None:
    take_down(hubs, hubs.crawl(0)["ann/ink"])
    scans = [hubs.scan(hub, 1) for hub in (hubs.huggingface, hubs.civitai)]
    plan = crawl.reconcile(hubs.root, scans, RULES, DAYS[1])
    assert taken_down_lines(plan) == [
        "taken down, but still listed: huggingface:ann/ink/lora.safetensors (asked)"
    ]
    crawl.write(hubs.root, plan)
    del hubs.huggingface.models["ann/ink"]
    scans = [hubs.scan(hub, 2) for hub in (hubs.huggingface, hubs.civitai)]
    plan = crawl.reconcile(hubs.root, scans, RULES, DAYS[2])
    assert taken_down_lines(plan) == []


def test_an_image_is_left_out_of_all_listings(hubs: TwoHubs) -> None:
    listing = hubs.crawl(0)["ann/ink"]
    image = listing.renderings[0]
    take_down(hubs, listing, kind="rendering", sha256=image.sha256 or "7" * 64, file=image.url)
    after = hubs.crawl(1)["ann/ink"]
    assert after.is_active and after.renderings == listing.renderings[1:]


def test_a_hub_that_is_down_does_not_bring_it_back(hubs: TwoHubs) -> None:
    take_down(hubs, hubs.crawl(0)["ann/ink"])
    hubs.huggingface.down = True
    assert hubs.crawl(1)["ann/ink"].status == "withdrawn"
