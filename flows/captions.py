"""Stage `captions`: caption the renderings that have no caption yet."""

import time

import prefect
from prefect.task_runners import ThreadPoolTaskRunner

from autolora import vlm
from autolora.captions import stage
from autolora.captions.store import captions_path
from autolora.clock import today
from autolora.params import Params
from autolora.progress import Progress
from autolora.storage.files import read_rows
from flows.stage import ROOT, flow, params, print_and_log, report, run, task

CONCURRENT_BATCHES = 4
"""the engine limits how many images of these are captioned at once"""


def plan(values: Params) -> list[stage.CaptionBatch]:
    """Return the batches; if there are any, load the model or check the server before the first batch."""
    batches = stage.plan(ROOT, values.captions, vlm.digest(values.models))
    if batches:
        vlm.captioner(values.models, values.captions, values.vllm)
    return batches


def stored_captions() -> int:
    """Return the number of captions on disk."""
    return sum(1 for _ in read_rows(captions_path(ROOT)))


@task()
def describe(batch: stage.CaptionBatch, values: Params, progress: Progress) -> stage.BatchResult:
    """Caption one batch of images."""
    engine = vlm.captioner(values.models, values.captions, values.vllm)
    result = stage.caption_batch(ROOT, values.captions, batch, engine)
    progress.advance(len(batch.images))
    return result


@flow(name="captions", task_runner=ThreadPoolTaskRunner(max_workers=CONCURRENT_BATCHES))
def captions() -> None:
    """Write data/captions and digests/captions.json."""
    values, started = params(), time.perf_counter()
    batches, before = plan(values), stored_captions()
    with Progress("captions", sum(len(batch.images) for batch in batches), "images") as progress:
        results = describe.map(batches, prefect.unmapped(values), prefect.unmapped(progress)).result()
    seconds, count = time.perf_counter() - started, sum(result.captions for result in results)
    print_and_log(
        f"[captions] {count} captions written by {values.captions.engine}, {count / max(seconds, 1e-3):.1f}/s"
    )
    failures = {image: reason for result in results for image, reason in result.failures.items()}
    stage.finish(ROOT, values.captions, vlm.digest(values.models), values.models.dtype, today(), failures)
    report(added=count, removed=before + count - stored_captions())


if __name__ == "__main__":
    run(captions)
