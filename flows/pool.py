"""The stage `pool`: bring in what the catalog lists, and let go of what it lists no longer."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import prefect
from prefect.task_runners import ThreadPoolTaskRunner

from autolora import models
from autolora.catalog.sources import Origins, Shown
from autolora.errors import DiskFull
from autolora.hubs.registry import open_hub, tokens_in
from autolora.params import Params
from autolora.pool import recipe
from autolora.pool.ingest import Intake, batches
from autolora.pool.stage import Stock
from flows.stage import ROOT, params, run, task, today

ADAPTERS_A_TASK = 8
RENDERINGS_A_TASK = 32


@task()
def open_terms(values: Params) -> recipe.Terms:
    """Return on what terms files are read."""
    models.set_threads(values.models)
    return recipe.terms(models.transformer_config(values.models), values.pool)


@task()
def take_stock(terms: recipe.Terms) -> Stock:
    """Read the catalog."""
    return Stock(ROOT, terms)


@task()
def missing_adapters(stock: Stock) -> list[Origins]:
    """Return the files that the pool lacks."""
    return stock.missing_adapters()


@task()
def missing_renderings(stock: Stock) -> list[Shown]:
    """Return the pictures that the pool lacks, once near-duplicates are told from originals."""
    stock.compare_newcomers()
    return stock.missing_renderings()


@task(retries=1, retry_delay_seconds=[2])
def fetch_adapters(intake: Intake, batch: Sequence[Origins]) -> int:
    """Download and read a batch of LoRA files."""
    return intake.fetch_adapters(batch)


@task(retries=1, retry_delay_seconds=[2])
def fetch_renderings(intake: Intake, batch: Sequence[Shown]) -> int:
    """Download and check a batch of pictures."""
    return intake.fetch_renderings(batch)


@task()
def finish(stock: Stock, failures: list[BaseException]) -> None:
    """Settle the pool's tables and write the digest."""
    stock.finish(today(), failures)


@prefect.flow(name="pool")
async def pool() -> None:
    """Make the pool what the catalog says."""
    values = params()
    terms = open_terms(values)
    stock, tokens = take_stock(terms), tokens_in(os.environ)
    hubs = {name: open_hub(name, values.hubs, tokens) for name in stock.hubs()}
    intake, workers = Intake(ROOT, hubs, terms, values.crawl.max_file_mb), values.hubs.downloads
    files = by_hub(missing_adapters(stock), lambda origins: origins.named.hub)
    failures = fetch(fetch_adapters, intake, files, ADAPTERS_A_TASK, workers, "files")
    pictures = by_hub(missing_renderings(stock), lambda picture: picture.hub)
    failures += fetch(fetch_renderings, intake, pictures, RENDERINGS_A_TASK, workers, "pictures")
    finish(stock, failures)


def by_hub(wanted: Sequence[Any], hub: Callable[[Any], str]) -> dict[str, list[Any]]:
    """Return what is wanted of each hub."""
    found: dict[str, list[Any]] = {}
    for item in wanted:
        found.setdefault(hub(item), []).append(item)
    return found


def fetch(
    fetcher: prefect.Task, intake: Intake, wanted: dict[str, list], size: int, workers: int, noun: str
) -> list[BaseException]:
    """Run a task for every batch, so many at a time of each hub; say how fast it went, and return what went wrong."""
    started, before = time.perf_counter(), intake.arrived
    fetcher = fetcher.with_options(retry_condition_fn=worth_another_try)
    with ExitStack() as stack:
        futures = []
        for items in wanted.values():
            runner = stack.enter_context(ThreadPoolTaskRunner(max_workers=workers))
            futures += [
                runner.submit(fetcher, {"intake": intake, "batch": batch}) for batch in batches(items, size)
            ]
        results = [future.result(raise_on_failure=False) for future in futures]
    seconds = time.perf_counter() - started
    number = intake.arrived - before
    print(
        f"[pool] {number} {noun} in {seconds:.1f} s, {number / max(seconds, 1e-3):.1f} a second", flush=True
    )
    return [result for result in results if isinstance(result, BaseException)]


def worth_another_try(task: prefect.Task, run: object, state: prefect.State) -> bool:
    """Tell whether a failed batch may do better: not on a full disk."""
    return not isinstance(state.data, DiskFull)


if __name__ == "__main__":
    run(pool)
