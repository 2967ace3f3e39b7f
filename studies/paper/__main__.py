"""The paper's tables: `python -m studies.paper` (after `make demo`).

Every method of fusion on the same prompts and seeds, scored by the judges of params.yaml, in the world of a repository:
the playground, or FLUX.1-dev with profiles/flux.1-dev.yaml as params.yaml. Images, scores and gates are kept in
cache/paper of that repository, so that a run that was killed goes on, and a larger one takes over what a smaller one
drew. Results go to metrics/paper_bench.json and docs/images, and are printed as Markdown.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from autolora.errors import exit_on_error
from autolora.models import LOGGING_MODULES
from autolora.params import load
from autolora.progress import show_progress, track
from autolora.storage.files import write_atomic
from autolora.storage.lock import exclusive_folder
from bench.timing import today
from studies.case_counts import describe_cases
from studies.paper.cases import as_study_case
from studies.paper.experiments import EXPERIMENTS, Size
from studies.paper.figure_2 import draw_figure_2
from studies.paper.gates import GateShelf
from studies.paper.images import ImageCache
from studies.paper.options import (
    COMMAND,
    DEFAULT,
    PLAYGROUND,
    RESULTS,
    experiments_of,
    gates_of,
    read_options,
    size_of,
)
from studies.paper.quality import start_scorers
from studies.paper.results import finished, key_of, measure, summarize
from studies.paper.scores import Scores
from studies.paper.world import CACHE, World, open_world
from studies.study_file import LOSSES, StudyFile, loss_table, to_markdown

UNFINISHED = (
    "No case is finished. Give the options of the run, because its cases depend on them: --runs, --prompts, --images, "
    "--sets, --objects, --styles, --gates, --other-prompts, --quality."
)
NO_CASE = "Not measured in this world: its adapters give no case."


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What draws and scores, and how much of it."""

    world: World
    size: Size
    scores: Scores
    images: ImageCache
    only_finished: bool
    """use what is in the cache, and draw nothing"""

    def run(self, name: str) -> dict[str, Any] | None:
        """Return the table of an experiment; None if no case of it is finished."""
        experiment = EXPERIMENTS[name]
        wanted = [
            cell
            for run in track(self.size.runs, f"{experiment.title}: cases", len(self.size.runs), "runs")
            for cell in experiment.plan(self.world, self.size, run)
            if cell.belongs_to(self.size)
        ]
        cells = finished(wanted, self.scores) if self.only_finished else wanted
        if not cells:
            print(f"## {experiment.title}\n\n{UNFINISHED if wanted else NO_CASE}\n", flush=True)
            return None
        cases = {key_of(cell.case): as_study_case(cell.case) for cell in cells}
        trained = {adapter.theme for adapter in self.world.listed(unseen=False) if adapter.theme}
        described = describe_cases([*cases.values()], self.world.adapters, trained)
        return {**summarize(measure(cells, self.scores, experiment.title), experiment), **described}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the experiments one after the other; print and write each."""
    options = read_options(arguments)
    home = Path.cwd()
    os.chdir(options.world)
    show_progress()
    hide_loading_bars()
    with ExitStack() as stack:
        root, size = Path.cwd(), size_of(options)
        params = load(root / "params.yaml")
        shelf = GateShelf(root, params, root / CACHE)
        if not options.finished:
            stack.enter_context(exclusive_folder(root / CACHE, "; --finished reports what is finished"))
            shelf.train(gates_of(options, size))
        world = open_world(root, params)
        quality = start_scorers(stack, options.quality, options.quality_python, params.models.device)
        images = ImageCache(world, shelf)
        study = Study(
            world=world,
            size=size,
            scores=Scores(world, images, quality),
            images=images,
            only_finished=options.finished,
        )
        file = StudyFile(
            root=home, path=RESULTS, command=COMMAND, world=options.name, write=options.write,
            order=(*EXPERIMENTS, LOSSES),
        )  # fmt: skip
        for name in experiments_of(options):
            if table := study.run(name):
                print(f"{to_markdown(table)}\n", flush=True)
                file.store(name, table, today())
        if losses := shelf.losses(gates_of(options, size)):
            print(f"## Losses\n\n{loss_table(losses)}\n", flush=True)
            file.store(LOSSES, {"gates": losses}, today())
        file.remind()
        if options.figure and not options.finished:
            path = home / "docs" / "images" / f"paper-{options.name}-figure-2.png"
            write_atomic(path, draw_figure_2(world, images, size))
        if (study.size, options.name, options.finished) == (DEFAULT, PLAYGROUND, False):
            file.summarize("paper", params.fusion.preset, today())


def hide_loading_bars() -> None:
    """Turn off the bars of libraries that load models, also of judges: they would stand between the lines of a run."""
    for name in LOGGING_MODULES:
        import_module(name).disable_progress_bar()


if __name__ == "__main__":
    with exit_on_error():
        main()
