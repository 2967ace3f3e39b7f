"""The stage `experiments`: generate images of adapter pairs by every method from the same seeds, and score them."""

from autolora.experiments import stage
from autolora.metrics.judges import load_judges
from autolora.params import Params
from flows.stage import ROOT, flow, measured_on, params, print_and_log, run, task


@task()
def experiment(values: Params) -> str:
    """Generate and score images and write this stage's part of the report; return the digest."""
    settings = stage.Settings(
        params=values.experiments,
        generation=values.generation,
        base=values.models,
        bounds=values.pool,
        themes=values.evaluation.themes,
        preset=values.fusion.preset,
    )
    judges = load_judges(values.judges, values.models, values.vllm)
    return stage.experiment(ROOT, settings, judges, print_progress, measured_on())


def print_progress(done: int, total: int, scenario: str) -> None:
    """Report how many prompts are finished, and the scenario of the last one."""
    print_and_log(f"[experiments] prompt {done} of {total} ({scenario})")


@flow(name="experiments")
async def experiments() -> None:
    """Generate, score, compare."""
    experiment(params())


if __name__ == "__main__":
    run(experiments)
