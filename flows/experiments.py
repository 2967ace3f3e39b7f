"""The stage `experiments`: paint pairs of adapters by every method, from the same seeds, and measure."""

import prefect

from autolora.experiments import stage
from autolora.metrics.judges import load_judges
from autolora.params import Params
from flows.stage import ROOT, params, run, task


@task()
def experiment(values: Params) -> str:
    """Paint and measure; write this stage's half of the report; return the digest."""
    return stage.experiment(
        ROOT,
        values.experiments,
        values.generation,
        values.models,
        values.pool,
        values.evaluation.themes,
        load_judges(values.judges, values.models, values.vllm),
        show,
    )


def show(done: int, total: int, outcome: str) -> None:
    """Print how many prompts are painted and measured."""
    print(f"[experiments] prompt {done} of {total} ({outcome})", flush=True)


@prefect.flow(name="experiments")
async def experiments() -> None:
    """Paint, measure, compare."""
    experiment(params())


if __name__ == "__main__":
    run(experiments)
