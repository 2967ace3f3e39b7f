"""A playground hub and a repository, and the stages `crawl` and `pool` between them, run without Prefect."""

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autolora.catalog import store as catalog
from autolora.crawl import stage as crawl
from autolora.crawl import watermarks
from autolora.errors import AutoLoraError, DiskFull, HubError
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.huggingface.client import HuggingFace
from autolora.pool import store as pool
from autolora.pool.ingest import Ingest, batches
from autolora.pool.recipe import ReadRecipe
from autolora.pool.stage import PoolSync
from autolora.pool.tables import PoolTables
from autolora.records import Adapter
from playground.hubs.state import Hub
from tests.support.tiny_pool import RECIPE, RULES

DAYS = {1: datetime.date(2026, 1, 5), 2: datetime.date(2026, 1, 6)}


def client(endpoint: str) -> HuggingFace:
    """Return a client that never retries."""
    return HuggingFace(Endpoint("huggingface", endpoint, 60.0, 1, None))


def retrying_client(endpoint: str) -> HuggingFace:
    """Return a client that retries often and after a short delay."""
    return HuggingFace(Endpoint("huggingface", endpoint, 60.0, 20, None, sleep=lambda _: time.sleep(0.01)))


def crawl_hub(endpoint: str, root: Path, day: datetime.date) -> None:
    """Run the stage `crawl`."""
    scan = crawl.scan_hub(root, client(endpoint), RULES, day)
    crawl.write(root, crawl.reconcile(root, [scan], RULES, day))


def run_pool(endpoint: str, root: Path, recipe: ReadRecipe = RECIPE, batch_size: int = 2) -> None:
    """Run the stage `pool`."""
    _run_pool(client(endpoint), root, recipe, batch_size)


def run_pool_with_retries(endpoint: str, root: Path) -> None:
    """Run the stage `pool` with a client that retries interrupted downloads."""
    _run_pool(retrying_client(endpoint), root, RECIPE, batch_size=2)


def _run_pool(hub: HuggingFace, root: Path, recipe: ReadRecipe, batch_size: int) -> None:
    sync, failures = PoolSync(root, recipe), []
    ingest = Ingest(sync.tables, {hub.name: hub}, recipe, RULES.max_file_mb)
    failures += fetch_all(ingest.fetch_adapters, batches(sync.missing_adapters(), batch_size))
    sync.compare_new_adapters()
    failures += fetch_all(ingest.fetch_renderings, batches(sync.missing_renderings(), batch_size))
    sync.finish(DAYS[1], failures)


def fetch_all(fetch: Callable[[Any], int], wanted: list[Any]) -> list[AutoLoraError]:
    """Fetch all batches and return the errors."""
    failures = []
    for batch in wanted:
        try:
            fetch(batch)
        except (HubError, DiskFull) as error:
            failures.append(error)
    return failures


class Site:
    """A running hub and the root of a repository."""

    def __init__(self, hub: Hub, endpoint: str, root: Path) -> None:
        self.hub, self.root, self.endpoint = hub, root, endpoint

    def crawl(self, day: int = 1) -> None:
        crawl_hub(self.endpoint, self.root, DAYS[day])
        self.hub.change({"reset": True})

    def run_pool(self, recipe: ReadRecipe = RECIPE, batch_size: int = 2) -> None:
        run_pool(self.endpoint, self.root, recipe, batch_size)

    def sync(self) -> PoolSync:
        return PoolSync(self.root, RECIPE)

    def ingest(self) -> Ingest:
        return Ingest(
            PoolTables(self.root), {"huggingface": client(self.endpoint)}, RECIPE, RULES.max_file_mb
        )

    def adapters(self) -> dict[str, Adapter]:
        """Return the pool's rows by repository."""
        rows = pool.adapters(self.root)
        listings = catalog.read_active(self.root)
        return {listing.id: rows[listing.key] for listing in listings if listing.key in rows}

    def requests(self) -> dict[str, int]:
        """Return the counts of requests by kind since the last crawl."""
        return {kind: count for kind, count in self.hub.requests().items() if kind != "paths"}

    def files(self) -> dict[str, tuple[int, int]]:
        """Return size and time stamp of each file in data/ and digests/ except the watermarks."""
        files = [path for name in ("data", "digests") for path in (self.root / name).rglob("*")]
        paths = [path for path in files if path.is_file() and path != self.root / watermarks.PATH]
        return {
            str(path.relative_to(self.root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths
        }
