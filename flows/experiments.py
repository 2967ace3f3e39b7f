"""The stage `experiments`: generate images of adapter pairs by every method from the same seeds, and score them."""

from autolora.experiments import stage
from autolora.metrics.judges import load_judges
from autolora.progress import Progress
from autolora.text_encoder.sentences import open_language
from flows.stage import ROOT, flow, measured_on, params, run


@flow(name="experiments")
def experiments() -> None:
    """Generate and score images, and write this stage's part of the report."""
    values = params()
    settings = stage.Settings(
        params=values.experiments,
        generation=values.generation,
        base=values.models,
        bounds=values.pool,
        sentences=open_language(ROOT, values.encoder),
        themes=values.evaluation.themes,
        preset=values.fusion.preset,
    )
    judges = load_judges(values.judges, values.models)

    def record(done: int, prompts: int, scenario: str) -> None:
        progress.total = prompts
        progress.advance()

    with Progress("experiments", noun="prompts") as progress:
        stage.experiment(ROOT, settings, judges, record, measured_on())


if __name__ == "__main__":
    run(experiments)
