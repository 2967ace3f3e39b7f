"""The stage `evaluation`: ask the index for adapters that no model has learned from, and count."""

import prefect

from autolora import models
from autolora.evaluation import stage
from autolora.params import Params
from flows.stage import ROOT, params, run, task


@task()
def evaluate(values: Params) -> str:
    """Measure retrieval and write this stage's half of the report; return the digest."""
    models.set_threads(values.models)
    return stage.evaluate(ROOT, values.evaluation, models.load_text_encoder(values.models))


@prefect.flow(name="evaluation")
async def evaluation() -> None:
    """Evaluate the index."""
    evaluate(params())


if __name__ == "__main__":
    run(evaluation)
