"""Stage `index`: embed new adapters, rewrite columns that have changed, remove adapters that left the dataset."""

import time
from collections.abc import Sequence
from typing import Any

from prefect.utilities.annotations import opaque

from autolora.index import stage
from autolora.models import load_text_encoder, set_threads
from autolora.params import ModelsParams, Params
from autolora.progress import Progress
from flows.stage import ROOT, flow, params, print_and_log, run, task


@task()
def open_sync(values: Params) -> stage.IndexSync:
    """Read the encoder and the rows that the index should have; once, for all steps."""
    set_threads(values.models)
    return stage.open_sync(ROOT, values.pool, lambda: load_text_encoder(values.models), values.models.device)


@task()
def plan(sync: stage.IndexSync, batch: int) -> stage.Plan:
    """Compare the index with the dataset and the encoder."""
    return sync.plan(batch)


@task()
def embed(sync: stage.IndexSync, batch: Sequence[str]) -> int:
    """Embed one batch of adapters."""
    return sync.embed(batch)


@task()
def update(sync: stage.IndexSync, adapters: Sequence[str]) -> int:
    """Rewrite the changed columns of adapters whose vectors are current."""
    return sync.update(adapters)


@task()
def remove(sync: stage.IndexSync, adapters: Sequence[str]) -> int:
    """Remove adapters that left the dataset."""
    return sync.remove(adapters)


@task()
def finish(sync: stage.IndexSync, models: ModelsParams) -> str:
    """Write what a search reads besides the table, and then the digest; the last step."""
    sync.save_tokenizer(models)
    return sync.finish()


@flow(name="index")
async def index() -> None:
    """Write data/index and digests/index.json."""
    started, values = time.perf_counter(), params()
    sync: Any = opaque(open_sync(values))  # Prefect passes the object on without looking into it
    work = plan(sync, values.index.batch)
    with Progress("index", sum(map(len, work.embed)), "adapters") as progress:
        for batch in work.embed:
            embed(sync, batch)
            progress.advance(len(batch))
    update(sync, work.update)
    remove(sync, work.remove)
    finish(sync, values.models)
    counts = ", ".join(f"{count} {action}" for action, count in work.counts.items())
    print_and_log(f"[index] {counts} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    run(index)
