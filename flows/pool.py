"""The stage `pool`: bring in what the catalog lists, and let go of what it lists no longer."""

import os
import time
from collections.abc import Mapping, Sequence

import prefect
from prefect.task_runners import ThreadPoolTaskRunner

from autolora import intake, models
from autolora import pool as stage
from autolora.hubs import Hub
from autolora.hubs.directory import open_hub
from autolora.params import Params, PoolParams
from autolora.records import ListedRendering, Listing
from flows.stage import ROOT, params, run, task

ADAPTERS_A_TASK = 8
RENDERINGS_A_TASK = 32

Hubs = Mapping[str, Hub]


@task()
def open_terms(values: Params) -> stage.Terms:
    """Return on what terms files are read."""
    models.set_threads(values.models)
    return stage.terms(models.transformer_config(values.models), values.pool)


@task(retries=2, retry_delay_seconds=[1, 4])
def fetch_adapters(batch: Sequence[Listing], hubs: Hubs, terms: stage.Terms, max_file_mb: float) -> int:
    """Download and read a batch of LoRA files."""
    return intake.fetch_adapters(ROOT, batch, hubs, terms, max_file_mb)


@task(retries=2, retry_delay_seconds=[1, 4])
def fetch_renderings(batch: Sequence[tuple[str, ListedRendering]], hubs: Hubs, bounds: PoolParams) -> int:
    """Download and check a batch of pictures."""
    return intake.fetch_renderings(ROOT, batch, hubs, bounds)


@task()
def finish(terms: stage.Terms, failures: list[BaseException]) -> None:
    """Settle the pool's tables and write the digest."""
    stage.finish(ROOT, terms.recipe, failures)


@prefect.flow(name="pool")
async def pool() -> None:
    """Make the pool what the catalog says."""
    values = params()
    terms = open_terms(values)
    hubs = {name: open_hub(name, values.hubs, os.environ.get("HF_TOKEN")) for name in stage.hubs(ROOT)}
    files = intake.batches(stage.pending_adapters(ROOT, terms.recipe), ADAPTERS_A_TASK)
    common = {"hubs": hubs, "terms": terms, "max_file_mb": values.crawl.max_file_mb}
    failures = fetch(fetch_adapters, files, common, values.hubs.downloads, "files")
    pictures = intake.batches(stage.pending_renderings(ROOT, terms.recipe), RENDERINGS_A_TASK)
    common = {"hubs": hubs, "bounds": values.pool}
    failures += fetch(fetch_renderings, pictures, common, values.hubs.downloads, "pictures")
    finish(terms, failures)


def fetch(fetcher: prefect.Task, batches: list, common: dict, workers: int, noun: str) -> list[BaseException]:
    """Run a task for every batch, so many at a time; say how fast it went, and return what went wrong."""
    started = time.perf_counter()
    with ThreadPoolTaskRunner(max_workers=workers) as runner:
        futures = [runner.submit(fetcher, {"batch": batch, **common}) for batch in batches]
        results = [future.result(raise_on_failure=False) for future in futures]
    seconds = time.perf_counter() - started
    number = sum(result for result in results if isinstance(result, int))
    print(
        f"[pool] {number} {noun} in {seconds:.1f} s, {number / max(seconds, 1e-3):.1f} a second", flush=True
    )
    return [result for result in results if isinstance(result, BaseException)]


if __name__ == "__main__":
    run(pool)
