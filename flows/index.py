"""Stage `index`: embed new adapters, rewrite columns that have changed, remove adapters that left the dataset."""

import time
from collections.abc import Sequence

from prefect.utilities.annotations import opaque
from rich.progress import track

from autolora.index import stage
from autolora.models import set_threads
from autolora.params import Params
from flows.stage import ROOT, flow, params, print_and_log, run, task


@task()
def plan(batch: int) -> stage.Plan:
    """Compare the index with the dataset and the encoder."""
    return stage.plan(ROOT, batch)


@task()
def open_embedder(values: Params) -> stage.Embedder:
    """Load the encoder and the expected rows."""
    set_threads(values.models)
    return stage.open_embedder(ROOT, values.pool)


@task()
def embed(embedder: stage.Embedder, batch: Sequence[str]) -> int:
    """Embed one batch of adapters."""
    return embedder.embed(batch)


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
    started, values = time.perf_counter(), params()
    work = plan(values.index.batch)
    if work.embed:
        embedder = open_embedder(values)
        for batch in track(work.embed, "embedding"):
            embed(opaque(embedder), batch)  # type: ignore[call-overload]  # Prefect unwraps it
    update(work.update)
    remove(work.remove)
    finish()
    counts = ", ".join(f"{count} {action}" for action, count in work.counts.items())
    print_and_log(f"[index] {counts} in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    run(index)
