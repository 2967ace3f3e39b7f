"""Bring the index up to date: embed what is new, rewrite columns that have changed, remove what is gone."""

from collections.abc import Sequence

import prefect
from rich.progress import track

from autolora.index import stage
from autolora.models import set_threads
from autolora.params import ModelsParams, PoolParams
from flows.stage import ROOT, params, run, task


@task()
def compare(batch: int) -> stage.Plan:
    """Compare the index with dataset and encoder."""
    return stage.plan(ROOT, batch)


@task()
def embed(batch: Sequence[str], models: ModelsParams, bounds: PoolParams) -> int:
    """Embed a batch of adapters."""
    set_threads(models)
    return stage.embed(ROOT, batch, bounds)


@task()
def update(adapters: Sequence[str]) -> int:
    """Rewrite columns beside vectors that stand."""
    return stage.update(ROOT, adapters)


@task()
def withdraw(adapters: Sequence[str]) -> int:
    """Remove adapters that left the dataset."""
    return stage.withdraw(ROOT, adapters)


@task()
def finish() -> str:
    """Write meta.json and, last, the digest."""
    return stage.finish(ROOT)


@prefect.flow(name="index")
async def index() -> None:
    """Make data/index and digests/index.json."""
    plan = compare(params().index.batch)
    for batch in track(plan.embed, "embedding"):
        embed(batch, params().models, params().pool)
    update(plan.update)
    withdraw(plan.remove)
    finish()
    print(", ".join(f"{count} {what}" for what, count in plan.counts.items()))


if __name__ == "__main__":
    run(index)
