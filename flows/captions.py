"""Stage `captions`: caption the renderings that have no caption yet."""

import time

import prefect
from prefect.task_runners import ThreadPoolTaskRunner

from autolora import vlm
from autolora.captions import stage
from autolora.params import Params
from flows.stage import ROOT, flow, params, print_and_log, run, task

CONCURRENT_BATCHES = 4
"""the engine limits how many requests or forward passes of these run at once"""


@task()
def plan(values: Params) -> list[stage.CaptionBatch]:
    """Return the batches; if there are any, load the model or check the server before the first batch."""
    batches = stage.plan(ROOT, values.captions, vlm.digest(values.models))
    if batches:
        vlm.captioner(values.models, values.captions, values.vllm)
    return batches


@task()
def describe(batch: stage.CaptionBatch, values: Params) -> int:
    """Caption one batch of images and return the number of captions."""
    engine = vlm.captioner(values.models, values.captions, values.vllm)
    return stage.caption_batch(ROOT, values.captions, batch, engine)


@task()
def finish(values: Params) -> str:
    """Sort the captions, remove obsolete ones, and write the digest."""
    return stage.finish(ROOT, values.captions, vlm.digest(values.models))


@flow(name="captions", task_runner=ThreadPoolTaskRunner(max_workers=CONCURRENT_BATCHES))
async def captions() -> None:
    """Write data/captions and digests/captions.json."""
    values, started = params(), time.perf_counter()
    counts = describe.map(plan(values), prefect.unmapped(values)).result()
    finish(values)
    seconds, count = time.perf_counter() - started, sum(counts)
    print_and_log(
        f"[captions] {count} captions written by {values.captions.engine}, {count / max(seconds, 1e-3):.1f}/s"
    )


if __name__ == "__main__":
    run(captions)
