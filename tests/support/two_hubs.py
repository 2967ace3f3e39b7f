"""A repository root with two fake hubs, and crawls of them on numbered days, each of which begins a refresh."""

import datetime
from dataclasses import replace
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.catalog.diff import BASELINE, keep_baseline
from autolora.crawl import stage as crawl
from autolora.crawl.scan import HubScan
from autolora.errors import HubError
from autolora.params import CrawlParams
from autolora.records import Listing
from tests.support.fake_hub import MIDNIGHT, FakeHub
from tests.support.tiny_pool import RULES as ONE_HUB

RULES = replace(
    ONE_HUB,
    hubs=("huggingface", "civitai"),
    max_nsfw_level="explicit",
    full_scan_every_days=1,
    overlap_h=2.0,
)
INCREMENTAL = replace(RULES, full_scan_every_days=100)
DAYS = [MIDNIGHT.date() + datetime.timedelta(days=day) for day in range(10)]


class TwoHubs:
    """Five models on Hugging Face, one on Civitai, and a root that crawls both."""

    def __init__(self, root: Path) -> None:
        self.root, self.day = root, -1
        self.huggingface, self.civitai = FakeHub("huggingface"), FakeHub("civitai")
        for hour, id in enumerate(("ann/ink", "ann/neon", "bob/cat", "bob/dog", "cat/sea")):
            self.huggingface.put(id, hour)
        self.civitai.put("77", 1)

    def crawl(self, day: int, rules: CrawlParams = RULES) -> dict[str, Listing]:
        """Crawl both hubs on a day and return the listings of the catalog, except rejected ones, by id.

        The first crawl of a day begins a refresh; the refresh of the day before has made its release.
        """
        if day != self.day:
            (self.root / BASELINE).unlink(missing_ok=True)
            self.day = day
        keep_baseline(self.root)
        scans = [self.scan(hub, day, rules) for hub in (self.huggingface, self.civitai)]
        crawl.write(self.root, crawl.reconcile(self.root, scans, rules, DAYS[day]))
        listings = catalog.read_all(self.root)
        return {listing.id: listing for listing in listings if listing.status != "rejected"}

    def scan(self, hub: FakeHub, day: int, rules: CrawlParams = RULES) -> HubScan:
        """Return the scan of one hub, with its requests counted from zero; of a hub that is down, a failed scan."""
        hub.requests.clear()
        try:
            return crawl.scan_hub(self.root, hub, rules, DAYS[day])
        except HubError as error:
            return crawl.keep_stale(self.root, hub.name, rules, error)

    def statuses(self, day: int, rules: CrawlParams = RULES) -> dict[str, str]:
        """Crawl both hubs and return id -> status."""
        return {id: listing.status for id, listing in self.crawl(day, rules).items()}

    def put_many(self, number: int, first_hour: int, base: str = "flux.1-dev") -> None:
        """Publish further models on Hugging Face: more/0, more/1, ..., one per hour."""
        for index in range(number):
            self.huggingface.put(f"more/{index}", first_hour + index, base=base)


def limited(files: int) -> CrawlParams:
    """Return RULES with so many new files per hub and night."""
    return replace(RULES, max_new_files=files)
