"""A repository with two hubs, one with faults and one without, and the stages `crawl` and `pool`, run as flows do."""

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from autolora.catalog import failed_items
from autolora.catalog import store as catalog
from autolora.catalog.diff import BASELINE, keep_baseline
from autolora.crawl import stage as crawl
from autolora.crawl.plan import CatalogPlan
from autolora.errors import HubError
from autolora.hubs import Hub as Client
from autolora.hubs.registry import open_hub
from autolora.params import FolderParams, HubParams, HubsParams
from autolora.pool import store as pool
from autolora.pool.ingest import Ingest, batches
from autolora.pool.stage import PoolSync
from autolora.records import Listing
from autolora.storage.hashes import hash_file
from playground.hubs.repos import HUBS
from playground.hubs.state import Hub
from tests.lora.writing import draw_lora, peft, write
from tests.support.tiny_pool import RECIPE, RULES

T = TypeVar("T")

DAYS = [datetime.date(2026, 1, 5 + number) for number in range(3)]
TIMEOUT_S, MAX_REFRESH_ATTEMPTS = 0.7, 3


@dataclass(frozen=True, slots=True)
class DayResult:
    """The state after one day and the errors on that day."""

    listings: Mapping[str, Listing]
    """repository -> listing of the faulty hub"""
    num_folder_adapters: int
    """adapters from the hub without faults"""
    adapters: Mapping[str, tuple[str, str]]
    """repository -> sha256 and verdict"""
    images: Mapping[str, int]
    """repository -> number of images in the pool"""
    prompts: Mapping[str, int]
    """repository -> number of prompts in the catalog"""
    is_down: bool
    problems: str
    first_error: str
    """error of the first run of the stage `pool`; empty if it succeeded"""
    last_error: str
    """error of the last run of the stage `pool`; empty if it succeeded"""
    deferred: Collection[str]
    """names of deferred downloads"""

    @property
    def summary(self) -> tuple[object, ...]:
        """The part of the state that does not depend on former faults."""
        states = {id: (row.status, row.stale_since, row.withdrawn) for id, row in self.listings.items()}
        return states, self.adapters, self.num_folder_adapters, self.is_down, self.last_error


class FaultySite:
    """A hub with faults, a folder hub without, and the root of a repository."""

    def __init__(self, name: str, hub: Hub, endpoint: str, folder: Path) -> None:
        self.name, self.hub, self.root, self.hub_folder = name, hub, folder / "root", folder / "hub"
        self.rules = replace(RULES, hubs=(name, "folder"))
        self.delays_s: list[float] = []
        self.repos = {
            str(hub.civitai_ids.model(repo)) if name == "civitai" else id: id
            for id, repo in hub.repos.items()
        }
        endpoints = {
            "huggingface": endpoint,
            "civitai": f"{endpoint}/civitai",
            "modelscope": f"{endpoint}/modelscope",
        }
        self.params = HubsParams(
            **{hub: HubParams(endpoint=endpoints[hub]) for hub in HUBS},
            folder=FolderParams(path=str(self.hub_folder)),
            timeout_s=TIMEOUT_S, attempts=2, downloads=1, requests_per_s=1e6, max_mb_per_s=None, min_kb_per_s=1,
        )  # fmt: skip

    def clients(self) -> dict[str, Client]:
        """Return both hubs' clients; the one for the faulty hub records its delays and does not sleep."""
        client: Any = open_hub(self.name, self.params, {})
        recording = replace(client, endpoint=replace(client.endpoint, sleep=self.delays_s.append))
        return {self.name: recording, "folder": open_hub("folder", self.params, {})}

    def run_day(self, number: int) -> DayResult:
        """Publish the day's new files, then run crawl and pool; again if the pool fails, as a refresh does."""
        self.hub.change({"day": min(number + 1, 2)})
        self.hub_folder.mkdir(exist_ok=True)
        if not (path := self.hub_folder / f"{number}.safetensors").exists():
            write(path, peft(draw_lora(100 + number)))
        keep_baseline(self.root)
        plan = self.run_crawl(DAYS[number])
        errors = [self.run_pool(DAYS[number])]
        while errors[-1] and len(errors) < MAX_REFRESH_ATTEMPTS:
            plan = self.run_crawl(DAYS[number])
            errors.append(self.run_pool(DAYS[number]))
        (self.root / BASELINE).unlink()
        return self.read_result(plan, errors)

    def run_crawl(self, day: datetime.date) -> CatalogPlan:
        scans = []
        for name, client in self.clients().items():
            try:
                scans.append(with_one_retry(partial(crawl.scan_hub, self.root, client, self.rules, day)))
            except HubError as error:
                scans.append(crawl.keep_stale(self.root, name, self.rules, error))
        plan = crawl.reconcile(self.root, scans, self.rules, day)
        crawl.write(self.root, plan)
        return plan

    def run_pool(self, day: datetime.date) -> str:
        """Run the stage `pool` and return its error; empty if it succeeds."""
        sync = PoolSync(self.root, RECIPE)
        ingest = Ingest(sync.tables, self.clients(), RECIPE, self.rules.max_file_mb)
        failures = fetch_all(ingest.fetch_adapters, sync.missing_adapters())
        sync.compare_new_adapters()
        failures += fetch_all(ingest.fetch_renderings, sync.missing_renderings())
        try:
            sync.finish(day, failures)
        except HubError as error:
            return str(error)
        return ""

    def read_result(self, plan: CatalogPlan, errors: Sequence[str]) -> DayResult:
        all_listings = catalog.read_all(self.root)
        listings = {self.repos[row.id]: row for row in all_listings if row.hub == self.name}
        adapters, stored_images = pool.adapters(self.root), pool.renderings(self.root)
        (scan,) = (scan for scan in plan.scans if scan.hub == self.name)
        return DayResult(
            listings=listings,
            num_folder_adapters=sum(row.hub == "folder" and row.key in adapters for row in all_listings),
            adapters={
                id: (adapters[row.key].sha256, adapters[row.key].verdict)
                for id, row in listings.items()
                if row.key in adapters
            },
            images={
                id: sum(image.key in stored_images for image in row.renderings)
                for id, row in listings.items()
            },
            prompts={
                id: sum(image.prompt is not None for image in row.renderings) for id, row in listings.items()
            },
            is_down=scan.is_down,
            problems=" | ".join(plan.problems[self.name]),
            first_error=errors[0],
            last_error=errors[-1],
            deferred={
                item.name for item in failed_items.read(self.root).values() if item.is_deferred(plan.today)
            },
        )

    def published_sha256(self) -> set[str]:
        """Return the sha256 of each LoRA file on both hubs."""
        blobs = (blob for repo in self.hub.repos.values() for blob in repo.head.blobs.values())
        return {blob.sha256 for blob in blobs} | {hash_file(path) for path in self.hub_folder.iterdir()}


def fetch_all(fetch: Callable[[Any], int], wanted: Sequence[Any]) -> list[BaseException]:
    """Fetch all batches, each with one retry, and return the errors."""
    failures: list[BaseException] = []
    for batch in batches(wanted, 2):
        try:
            with_one_retry(partial(fetch, batch))
        except HubError as error:
            failures.append(error)
    return failures


def with_one_retry(call: Callable[[], T]) -> T:
    """Return the result of the call, made again if it raises HubError, as the tasks of the flows do."""
    try:
        return call()
    except HubError:
        return call()
