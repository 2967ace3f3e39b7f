"""Stage `captions`: describe the renderings that have no caption yet."""

import prefect
from prefect.task_runners import ThreadPoolTaskRunner

from autolora import vlm
from autolora.captions import stage
from autolora.params import Params
from flows.stage import ROOT, params, run, task

BATCHES = 4  # at the same time; the engine decides how much of them it does at once


@task()
def plan(values: Params) -> list[stage.Batch]:
    """List the batches; where there are any, load the model or check the server before asking anything."""
    batches = stage.plan(ROOT, values.captions, vlm.digest(values.models))
    if batches:
        vlm.captioner(values.models, values.captions, values.vllm)
    return batches


@task()
def describe(batch: stage.Batch, values: Params) -> int:
    """Caption one batch of pictures and return how many there are."""
    engine = vlm.captioner(values.models, values.captions, values.vllm)
    return stage.caption_batch(ROOT, values.captions, batch, engine)


@task()
def finish(values: Params) -> str:
    """Sort the captions, drop what is no longer wanted, write the digest."""
    return stage.finish(ROOT, values.captions, vlm.digest(values.models))


@prefect.flow(name="captions", task_runner=ThreadPoolTaskRunner(max_workers=BATCHES))
async def captions() -> None:
    """Plan, describe, finish."""
    values = params()
    told = describe.map(plan(values), prefect.unmapped(values)).result()
    finish(values)
    print(f"[captions] {sum(told)} captions written by {values.captions.engine}")


if __name__ == "__main__":
    run(captions)
