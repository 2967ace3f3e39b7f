"""Stage `captions`: caption the renderings that have no caption yet."""

import time
from functools import partial
from pathlib import Path

from autolora import vlm
from autolora.captions import stage
from autolora.captions.store import captions_path
from autolora.clock import today
from autolora.params import Params
from autolora.progress import Progress
from autolora.storage.files import read_rows
from flows import engine
from flows.engine import Job, Work
from flows.stage import ROOT, flow, params, print_and_log, report, run, task

CONCURRENT_BATCHES = 4
"""the engine limits how many images of these are captioned at once"""


def open_captioner(root: Path, values: Params) -> Work[stage.CaptionBatch]:
    """Load the model or check the server, and return what captions a batch."""
    captioner = vlm.captioner(values.models, values.captions, values.vllm)
    return partial(stage.caption, root, values.captions, engine=captioner)


def stored_captions() -> int:
    """Return the number of captions on disk."""
    return sum(1 for _ in read_rows(captions_path(ROOT)))


@task()
def describe(values: Params) -> list[stage.BatchResult]:
    """Caption all images that have no caption, and store the captions of each batch as soon as it is finished."""
    batches, results = stage.plan(ROOT, values.captions, vlm.digest(values.models)), []
    job = Job(
        root=ROOT,
        stage="captions",
        batches=batches,
        open_work=partial(open_captioner, ROOT, values),
        on_gpu=values.captions.engine == "transformers" and values.models.device == "cuda",
    )
    with Progress("captions", sum(len(batch.images) for batch in batches), "images") as progress:
        for batch, rows in engine.run(job, values.operation.engine, CONCURRENT_BATCHES):
            results.append(stage.store(ROOT, rows))
            progress.advance(len(batch.images))
    return results


@flow(name="captions")
def captions() -> None:
    """Write data/captions and digests/captions.json."""
    values, started = params(), time.perf_counter()
    stage.store_leftovers(ROOT, engine.leftovers(ROOT, "captions"))
    before = stored_captions()
    results = describe(values)
    seconds, count = time.perf_counter() - started, sum(result.captions for result in results)
    print_and_log(
        f"[captions] {count} captions written by {values.captions.engine}, {count / max(seconds, 1e-3):.1f}/s"
    )
    failures = {image: reason for result in results for image, reason in result.failures.items()}
    stage.finish(ROOT, values.captions, vlm.digest(values.models), values.models.dtype, today(), failures)
    report(added=count, removed=before + count - stored_captions())


if __name__ == "__main__":
    run(captions)
