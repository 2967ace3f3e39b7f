"""The experiments of the paper, and some beyond it: `python -m bench.paper` (after `make demo`).

Every method of fusion on the same prompts and seeds, scored by the judges of params.yaml, in the world of a repository:
the playground, or FLUX.1-dev with profiles/flux.1-dev.yaml as params.yaml. Images, scores and gates are kept in
cache/paper of that repository, so that a run that was killed goes on, and a larger one takes over what a smaller one
drew. Results go to metrics/paper_bench.json and docs/images, and are printed as Markdown.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.errors import exit_on_error
from autolora.params import load
from autolora.progress import show_progress
from autolora.storage.files import write_atomic
from autolora.storage.lock import exclusive_folder
from bench.paper.curves import draw_curves
from bench.paper.experiments import EXPERIMENTS, Size
from bench.paper.figure_2 import draw_figure_2
from bench.paper.gates import VARIANTS, GateShelf, TrainedGates
from bench.paper.images import ImageCache
from bench.paper.quality import METRICS, start_scorers
from bench.paper.results import finished, measure, summarize
from bench.paper.scores import Scores
from bench.paper.world import CACHE, World, open_world
from bench.study import PLAYGROUND, StudyFile, best_row, to_markdown
from bench.timing import today

COMMAND = "python -m bench.paper"
RESULTS = Path("metrics", "paper_bench.json")
FIGURES = Path("docs", "images")
BEYOND = tuple(name for name in EXPERIMENTS if not name[0].isdigit())
STRENGTHS = "strengths"
DEFAULT = Size()


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What draws and scores, and how much of it."""

    world: World
    size: Size
    scores: Scores
    images: ImageCache
    only_finished: bool
    """use what is in the cache, and draw nothing"""

    def run(self, name: str, strength: float) -> dict[str, Any] | None:
        """Return the table of an experiment; None if no case of it is finished."""
        experiment = EXPERIMENTS[name]
        cells = [
            cell
            for run in self.size.runs
            for cell in experiment.plan(self.world, self.size, strength, run)
            if cell.belongs_to(self.size)
        ]
        if self.only_finished:
            cells = finished(cells, self.scores)
        if not cells:
            reason = "no case is finished" if self.only_finished else "its adapters give no case"
            print(f"## {experiment.title}\n\nNot measured in this world: {reason}.\n", flush=True)
            return None
        return summarize(measure(cells, self.scores, experiment.title), experiment)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the experiments one after the other; print and write each."""
    options = read_options(arguments)
    home = Path.cwd()
    os.chdir(options.world)
    show_progress()
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
        file = StudyFile(root=home, path=RESULTS, command=COMMAND, world=options.name)
        write = Writer(file)
        strength = choose_strength(study, write)
        for name in experiments_of(options):
            if table := study.run(name, strength):
                write.table(name, table)
        if options.figure and not options.finished:
            write.figure("figure-2", draw_figure_2(world, images, study.size))
        if (study.size, options.name, options.finished) == (DEFAULT, PLAYGROUND, False):
            file.summarize("paper", params.fusion.preset, today())


def choose_strength(study: Study, write: "Writer") -> float:
    """Return the strength of `direct` that is best on pairs of training adapters; 1 if none is finished."""
    table = study.run(STRENGTHS, 1.0)
    if table is None:
        return 1.0
    write.table(STRENGTHS, table)
    return float(best_row(table).rpartition("× ")[2])


@dataclass(frozen=True, slots=True)
class Writer:
    """Prints tables, and writes them and the figures into a repository."""

    file: StudyFile

    def table(self, name: str, table: Mapping[str, Any]) -> None:
        """Print a table and replace it in metrics/paper_bench.json; draw the curves if it has some."""
        print(f"{to_markdown(table)}\n", flush=True)
        self.file.store(name, table, today())
        if figure := draw_curves(self.file.tables()):
            self.figure("unnamed", figure)

    def figure(self, name: str, content: bytes) -> None:
        """Write a figure."""
        write_atomic(self.file.root / FIGURES / f"paper-{self.file.world}-{name}.png", content)


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).partition("\n")[0])
    parser.add_argument(
        "--world", type=absolute, default=Path.cwd(), help="repository with params.yaml and data"
    )
    parser.add_argument("--name", default=PLAYGROUND, help="of the world, in results and file names")
    parser.add_argument("--tables", type=int, nargs="*", choices=range(1, 6), default=range(1, 6))
    parser.add_argument("--beyond", nargs="*", choices=BEYOND, default=BEYOND, help="further experiments")
    parser.add_argument("--figure", type=int, choices=(2,), help="of the paper")
    parser.add_argument("--runs", type=int, nargs="+", default=DEFAULT.runs, help="seeds of gates and draws")
    parser.add_argument("--prompts", type=int, default=DEFAULT.prompts, help="of each set of Table 1")
    parser.add_argument("--images", type=int, default=DEFAULT.images, help="per prompt of the other tables")
    parser.add_argument("--sets", type=int, default=DEFAULT.sets, help="random sets per run")
    parser.add_argument("--objects", type=int, help="largest number of objects of Table 2")
    parser.add_argument("--styles", type=int, help="largest number of styles of Table 2")
    parser.add_argument("--gates", nargs="*", choices=VARIANTS, default=DEFAULT.gates, help="with rows")
    parser.add_argument("--other-prompts", type=absolute, help="file of prompts, one per line (Table 1)")
    parser.add_argument(
        "--quality", nargs="*", choices=METRICS, default=[], help="see bench/paper/quality.py"
    )
    parser.add_argument("--quality-python", type=absolute, default=absolute("cache/quality/bin/python"))
    parser.add_argument("--finished", action="store_true", help="report on the finished cases; draw nothing")
    return parser.parse_args(arguments)


def absolute(path: str) -> Path:
    """Return a path that stays when the working directory becomes that of the world."""
    return Path(path).absolute()


def size_of(options: argparse.Namespace) -> Size:
    """Return the size that the options give."""
    return Size(
        runs=tuple(options.runs),
        prompts=options.prompts,
        images=options.images,
        sets=options.sets,
        objects=options.objects,
        styles=options.styles,
        gates=tuple(options.gates),
        other_prompts=options.other_prompts,
    )


def gates_of(options: argparse.Namespace, size: Size) -> list[TrainedGates]:
    """Return the gates that the experiments and the figure need."""
    variants = {variant for name in experiments_of(options) for variant in EXPERIMENTS[name].gates}
    wanted = (variants & {*size.gates}) | ({"paper", "best"} if options.figure else set())
    return [TrainedGates(variant, run) for run in size.runs for variant in VARIANTS if variant in wanted]


def experiments_of(options: argparse.Namespace) -> list[str]:
    """Return the names of the experiments to measure, except that of the strengths, which always comes first."""
    tables = [name for name in EXPERIMENTS if name[0].isdigit() and int(name[0]) in options.tables]
    return [*tables, *(name for name in options.beyond if name != STRENGTHS)]


if __name__ == "__main__":
    with exit_on_error():
        main()
