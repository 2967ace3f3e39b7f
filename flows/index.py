"""Stage `index`: embed new adapters, rewrite columns that have changed, remove adapters that left the dataset."""

import time
from collections.abc import Sequence

from rich.progress import track

from autolora.index import stage
from autolora.models import set_threads
from autolora.params import ModelsParams, PoolParams
from flows.stage import ROOT, flow, params, print_and_log, run, task


@task()
def plan(batch: int) -> stage.Plan:
    """Compare the index with the dataset and the encoder."""
    return stage.plan(ROOT, batch)


@task()
def embed(batch: Sequence[str], models: ModelsParams, bounds: PoolParams) -> int:
    """Embed one batch of adapters."""
    set_threads(models)
    return stage.embed(ROOT, batch, bounds)


@task()
def update(adapters: Sequence[str]) -> int:
    """Rewrite the changed columns of adapters whose vectors are current."""
    return stage.update(ROOT, adapters)


@task()
def remove(adapters: Sequence[str]) -> int:
    """Remove adapters that left the dataset."""
    return stage.remove(ROOT, adapters)


@task()
def finish() -> str:
    """Write meta.json and then the digest; the last step."""
    return stage.finish(ROOT)


@flow(name="index")
async def index() -> None:
    """Write data/index and digests/index.json."""
    started, work = time.perf_counter(), plan(params().index.batch)
    for batch in track(work.embed, "embedding"):
        embed(batch, params().models, params().pool)
    update(work.update)
    remove(work.remove)
    finish()
    counts = ", ".join(f"{count} {action}" for action, count in work.counts.items())
    print_and_log(f"[index] {counts} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    run(index)
