"""What a learned gate adds to the sum of the relevant adapters: `python -m bench.gates` (after `make demo`).

Forms of the gate × objectives, with three seeds. The recipe of each is chosen on pairs of training adapters that no
gate is trained on, and reported once on pairs of unseen adapters, in situations in which a gate may help: wrong
relevance, colliding adapters, many adapters, uneven strengths. Both shown is the share of images in which the
classifier sees object and style. Gates and rows are kept in cache/gates_bench of the world, so that a run that was
killed goes on. Results go to metrics/gates_bench.json, and are printed as Markdown.
"""

import argparse
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autolora import models
from autolora.errors import exit_on_error
from autolora.experiments.cases import PromptCase
from autolora.metrics.numbers import rounded, to_json
from autolora.progress import show_progress
from autolora.storage.arrays import Float64Array
from autolora.storage.files import read_json, write_atomic
from autolora.storage.lock import exclusive_folder
from bench.gates.cases import SITUATIONS
from bench.gates.cells import CELLS, Recipe, recipes_of
from bench.gates.collision import interaction
from bench.gates.images import PLAIN, Method, Results
from bench.gates.shelf import Shelf
from bench.gates.tables import choice_table, compare, loss_table, situation_table
from bench.gates.world import CACHE, World, open_world

COMMAND = "python -m bench.gates"
RESULTS = Path("metrics", "gates_bench.json")
CHOICE_SITUATIONS = ("right", "wrong")
"""in which recipes are chosen"""
COLLIDING = 3
"""the pairs whose adapters collide are this part of all: those of the largest interaction"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What is measured, and how much of it."""

    world: World
    shelf: Shelf
    results: Results
    seeds: tuple[int, ...]
    """of the gates; recipes are chosen with the first"""
    choice_pairs: int
    pairs: int
    images: int
    only_finished: bool

    def choose(self, cell: str) -> tuple[Recipe, dict[str, Any]] | None:
        """Return the recipe of a cell that shows both most often, and the shares of all; None if some is unfinished."""
        recipes = recipes_of(cell)
        if len(recipes) == 1:
            return recipes[0], {"recipes": {}, "chosen": recipes[0].title}
        cases = self.world.pairs(unseen=False, count=self.choice_pairs, seed=0)
        shares: dict[str, float] = {}
        for recipe in recipes:
            method = Method(cell, recipe, self.seeds[0])
            values = [self.share(method, situation, cases) for situation in CHOICE_SITUATIONS]
            if any(value is None for value in values):
                return None
            shares[recipe.title] = float(np.mean([value for value in values if value is not None]))
        best = max(recipes, key=lambda recipe: shares[recipe.title])
        return best, {"recipes": shares, "chosen": best.title}

    def share(self, method: Method, situation: str, cases: Sequence[PromptCase]) -> Float64Array | None:
        """Return the share of each pair's images that show both, (C,); None if they are not drawn and shall not be."""
        if not self.only_finished:
            return np.array([self.results.measure(method, situation, case) for case in cases])
        found = [self.results.find(method, situation, case) for case in cases]
        return None if None in found else np.array(found, dtype=np.float64)

    def losses(self, recipe: Recipe) -> dict[str, Any]:
        """Return seed -> the losses of the gates that are kept."""
        finished = [seed for seed in self.seeds if self.shelf.is_finished(recipe, seed)]
        facts = {seed: self.shelf.training(recipe, seed) for seed in finished}
        return {
            str(seed): {
                "held_out": training.held_out,
                "best_step": training.best_step,
                "unseen": training.unseen[recipe.kept],
            }
            for seed, training in facts.items()
        }

    def situation(
        self, situation: str, chosen: dict[str, Recipe], cases: Sequence[PromptCase]
    ) -> dict[str, Any] | None:
        """Return the table of a situation, with the methods that are finished; None without the baseline."""
        shown: dict[str, Float64Array] = {}
        for name in PLAIN:
            if (values := self.share(Method(name), situation, cases)) is not None:
                shown[name] = values[None]
        for cell, recipe in chosen.items():
            rows = [
                self.share(Method(cell, recipe, seed), situation, cases) for seed in self._seeds_of(recipe)
            ]
            if finished := [row for row in rows if row is not None]:
                shown[cell] = np.stack(finished)
        if PLAIN[0] not in shown:
            return None
        return {"pairs": len(cases), "images": self.images, "methods": compare(shown, cases, PLAIN[0])}

    def _seeds_of(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the seeds of a recipe; gates that are not trained are the same with each, as they start alike."""
        return self.seeds if recipe.learning_rate is not None else self.seeds[:1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in a world, whose cache no other run may write to; one that draws nothing may be beside it."""
    options = read_options(arguments)
    home = Path.cwd()
    os.chdir(options.world)
    show_progress()
    alternative = "; --finished reports what is finished"
    with nullcontext() if options.finished else exclusive_folder(Path.cwd() / CACHE, alternative):
        run(options, home)


def run(options: argparse.Namespace, home: Path) -> None:
    """Train, choose and report; print each table, and write it into `home` as soon as it is there."""
    world = open_world(Path.cwd())
    models.set_threads(world.params.models)
    shelf = Shelf(world)
    study = Study(
        world=world,
        shelf=shelf,
        results=Results(world, shelf, range(options.images)),
        seeds=tuple(options.seeds),
        choice_pairs=options.choice_pairs,
        pairs=options.pairs,
        images=options.images,
        only_finished=options.finished,
    )
    choices = {cell: found for cell in options.cells if (found := study.choose(cell))}
    chosen = {cell: recipe for cell, (recipe, _) in choices.items()}
    choice = {cell: row for cell, (_, row) in choices.items() if row["recipes"]}
    if choice:
        report(home, options.name, "choice", choice, choice_table(choice))
    cases = world.pairs(unseen=True, count=options.pairs, seed=0)
    for name in options.situations:
        if table := study.situation(name, chosen, cases):
            report(home, options.name, name, table, situation_table(SITUATIONS[name].title, table))
    hard = colliding(world, cases)
    if "right" in options.situations and (table := study.situation("right", chosen, hard)):
        report(home, options.name, "colliding", table, situation_table("colliding adapters", table))
    losses = {cell: study.losses(recipe) for cell, recipe in chosen.items()}
    report(home, options.name, "losses", losses, loss_table(losses))


def colliding(world: World, cases: Sequence[PromptCase]) -> list[PromptCase]:
    """Return the pairs of unseen adapters with the largest interaction."""
    ordered = sorted(cases, key=lambda case: -interaction(world, case))
    return ordered[: max(1, len(cases) // COLLIDING)]


def report(home: Path, world: str, name: str, table: dict[str, Any], markdown: str) -> None:
    """Print a table, and replace it in metrics/gates_bench.json."""
    print(markdown, flush=True)
    stored = read_json(home / RESULTS) or {}
    worlds = {**stored, world: {**stored.get(world, {}), name: rounded(table)}}
    write_atomic(home / RESULTS, to_json(worlds))


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).partition("\n")[0])
    parser.add_argument(
        "--world", type=absolute, default=Path.cwd(), help="repository with params.yaml and data"
    )
    parser.add_argument("--name", default="playground", help="of the world, in the results")
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=list(CELLS))
    parser.add_argument("--situations", nargs="+", choices=SITUATIONS, default=list(SITUATIONS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the gates")
    parser.add_argument("--choice-pairs", type=int, default=12, help="that choose the recipes")
    parser.add_argument("--pairs", type=int, default=36, help="of unseen adapters")
    parser.add_argument("--images", type=int, default=2, help="per pair and method")
    parser.add_argument(
        "--finished", action="store_true", help="report what is finished; draw and train nothing"
    )
    return parser.parse_args(arguments)


def absolute(path: str) -> Path:
    """Return a path that stays when the working directory becomes that of the world."""
    return Path(path).absolute()


if __name__ == "__main__":
    with exit_on_error():
        main()
