"""Stage `drawings`: let adapters without renderings draw some of themselves."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from autolora.clock import today
from autolora.drawings import stage
from autolora.drawings.recipe import Base
from autolora.params import Params
from autolora.pool import batches
from autolora.pool.drawings import Drawing, read_drawings
from autolora.progress import Progress
from autolora.storage.files import Row
from flows import engine
from flows.engine import Job, Work
from flows.stage import ROOT, flow, params, report, run, task


def open_artist(root: Path, base: Base, values: Params) -> Work[Sequence[Drawing]]:
    """Load the base model when an adapter draws, and return what draws one adapter's images."""
    from autolora.generation.images import Generator

    generator = Generator(root, values.models, values.pool)

    def draw(rows: Sequence[Drawing]) -> Iterator[Row]:
        return stage.draw(root, base, rows, generator)

    return draw


@task()
def draw_missing(values: Params) -> None:
    """Draw all missing images, one adapter after the other, and store the rows of each as soon as it has drawn."""
    base = Base.of(values)
    missing = stage.plan(ROOT, values.drawings, base, today())
    job = Job(
        root=ROOT,
        stage="drawings",
        batches=missing,
        open_work=partial(open_artist, ROOT, base, values),
        on_gpu=values.models.device == "cuda",
    )
    with Progress("drawings", sum(map(len, missing)), "images") as progress:
        for batch, rows in engine.run(job, values.operation.engine):
            stage.store(ROOT, rows)
            progress.advance(len(batch))


@flow(name="drawings")
def drawings() -> None:
    """Write data/drawings and digests/drawings.json, and the images to a batch of the pool."""
    batches.recover(ROOT)
    for rows in engine.leftovers(ROOT, "drawings"):
        stage.store(ROOT, rows)
    before = read_drawings(ROOT).keys()
    draw_missing(params())
    stage.finish(ROOT, today())
    after = read_drawings(ROOT).keys()
    report(added=len(after - before), removed=len(before - after))


if __name__ == "__main__":
    run(drawings)
