"""The stage `pool`: downloads the files and images that the catalog lists; those it no longer lists become inactive."""

import gc
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import prefect
from prefect.task_runners import ThreadPoolTaskRunner

from autolora import models
from autolora.catalog.sources import ImageSource, Sources
from autolora.clock import today
from autolora.errors import DiskFull
from autolora.hubs.registry import open_hub, tokens_from_environment
from autolora.params import ModelsParams
from autolora.pool import store as pool_store
from autolora.pool.ingest import Ingest, StoredFile, batches, read_again
from autolora.pool.recipe import ReadRecipe
from autolora.pool.stage import PoolSync
from autolora.progress import Progress
from autolora.storage.files import MB
from flows import engine
from flows.engine import Job, Work
from flows.stage import ROOT, Task, flow, params, print_and_log, report, run, task

ADAPTERS_PER_TASK = 8
FILES_PER_BATCH = 16
"""stored files that a worker of Ray reads before it writes their rows"""
RENDERINGS_PER_TASK = 32


def open_pool(recipe: ReadRecipe) -> PoolSync:
    """Read the catalog and the pool's tables."""
    gc.disable()
    try:
        sync = PoolSync(ROOT, recipe)
        gc.freeze()  # the rows stay until the end, so the collector need not look at them
    finally:
        gc.enable()
    return sync


@task(retries=1, retry_delay_seconds=[2])
def fetch_adapters(ingest: Ingest, batch: Sequence[Sources]) -> int:
    """Download and read a batch of LoRA files."""
    return ingest.fetch_adapters(batch)


@task(retries=1, retry_delay_seconds=[2])
def fetch_renderings(ingest: Ingest, batch: Sequence[ImageSource]) -> int:
    """Download and re-encode a batch of images."""
    return ingest.fetch_renderings(batch)


@flow(name="pool")
def pool() -> None:
    """Synchronize the pool with the catalog."""
    values = params()
    models.set_threads(values.models)
    recipe = ReadRecipe.for_base_model(models.transformer_config(values.models), values.pool)
    before = pool_store.adapters(ROOT).keys()
    sync, tokens = open_pool(recipe), tokens_from_environment(os.environ)
    hubs = {name: open_hub(name, values.hubs, tokens) for name in sync.hubs()}
    ingest, workers = Ingest(sync.tables, hubs, recipe, values.crawl.max_file_mb), values.hubs.downloads
    for rows in engine.leftovers(ROOT, "pool"):
        ingest.append_read(rows)
    if values.operation.engine == "ray":
        stored = [file for sources in sync.missing_adapters() if (file := ingest.stored(sources))]
        read_on_ray(ingest, stored, recipe, values.models)
    files = by_hub(sync.missing_adapters(), lambda sources: sources.primary.hub)
    failures = fetch(fetch_adapters, ingest, files, ADAPTERS_PER_TASK, workers, "files")
    sync.compare_new_adapters()  # near-duplicates need no images
    images = by_hub(sync.missing_renderings(), lambda image: image.hub)
    failures += fetch(fetch_renderings, ingest, images, RENDERINGS_PER_TASK, workers, "images")
    sync.finish(today(), failures)
    after = sync.rows().keys()
    report(added=len(after - before), removed=len(before - after))


def open_reader(root: Path, recipe: ReadRecipe, values: ModelsParams) -> Work[Sequence[StoredFile]]:
    """Return what reads a batch of stored files."""
    models.set_threads(values)
    return partial(read_again, root, recipe)


@task()
def read_on_ray(
    ingest: Ingest, files: Sequence[StoredFile], recipe: ReadRecipe, values: ModelsParams
) -> None:
    """Read the files that the pool stores by another recipe; those that fail stay for `fetch_adapters`."""
    job = Job(
        root=ROOT,
        stage="pool",
        batches=batches(files, FILES_PER_BATCH),
        open_work=partial(open_reader, ROOT, recipe, values),
    )
    with Progress("pool", len(files), "stored files") as progress:
        for batch, rows in engine.run(job, "ray"):
            ingest.append_read(rows)
            progress.advance(len(batch))


def by_hub(wanted: Sequence[Any], hub: Callable[[Any], str]) -> dict[str, list[Any]]:
    """Return hub -> items, given a function that returns the hub of an item."""
    groups: dict[str, list[Any]] = {}
    for item in wanted:
        groups.setdefault(hub(item), []).append(item)
    return groups


def fetch(
    fetcher: Task[Any, int], ingest: Ingest, wanted: dict[str, list[Any]], size: int, workers: int, noun: str
) -> list[BaseException]:
    """Run the task on every batch and return the exceptions; report the number of downloads and their rate.

    wanted: hub -> items. size: items per batch. workers: batches at the same time per hub.
    """
    started, completed_before = time.perf_counter(), ingest.num_completed
    fetcher = fetcher.with_options(retry_condition_fn=can_succeed_later)
    progress = Progress(
        "pool",
        sum(map(len, wanted.values())),
        noun,
        detail=incomplete_downloads,
        count=lambda: ingest.num_completed - completed_before,
    )
    with ExitStack() as stack:
        stack.enter_context(progress)
        futures = []
        for items in wanted.values():
            runner: ThreadPoolTaskRunner[int] = ThreadPoolTaskRunner(max_workers=workers)
            stack.enter_context(runner)
            futures += [
                runner.submit(fetcher, {"ingest": ingest, "batch": batch}) for batch in batches(items, size)
            ]
        results: list[Any] = [future.result(raise_on_failure=False) for future in futures]
    seconds = time.perf_counter() - started
    count = ingest.num_completed - completed_before
    print_and_log(f"[pool] {count} {noun} fetched in {seconds:.1f} s, {count / max(seconds, 1e-3):.1f}/s")
    return [result for result in results if isinstance(result, BaseException)]


def incomplete_downloads() -> str:
    """Return how many megabytes of files lie in incomplete downloads, as a phrase; empty without any."""
    sizes = [size_or_zero(path) for path in pool_store.incoming(ROOT).glob("*")]
    return f"{sum(sizes) / MB:,.0f} MB of incomplete downloads" if sum(sizes) >= MB else ""


def size_or_zero(path: Path) -> int:
    """Return the size of a file; 0 if it has been moved to its place."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def can_succeed_later(task: object, run: object, state: prefect.State) -> bool:
    """Return whether a failed batch is worth a retry: not if the disk is full."""
    return not isinstance(state.data, DiskFull)


if __name__ == "__main__":
    run(pool)
