"""What a learned gate adds to the sum of the relevant adapters: `python -m studies.gates` (after `make demo`).

Forms of the gate × objectives, with three seeds. The recipe of each is chosen on pairs of training adapters that no
gate is trained on, and reported once on pairs of unseen adapters, in situations in which a gate may help: wrong
relevance, colliding adapters, many adapters, uneven strengths. Both shown is the share of images in which the
classifier sees object and style. Gates, rows, and how much adapters collide are kept in cache/gates_bench of the world,
so that a run that was killed goes on. Results go to metrics/gates_bench.json, and are printed as Markdown.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autolora import models
from autolora.errors import exit_on_error
from autolora.experiments.cases import PromptCase
from autolora.progress import show_progress
from autolora.storage.arrays import Float64Array
from autolora.storage.lock import exclusive_folder
from bench.timing import today
from studies.case_counts import StudyCase, describe_cases
from studies.gates.cases import SITUATIONS
from studies.gates.cells import Recipe, recipes_of
from studies.gates.collision import Collisions
from studies.gates.images import PLAIN, Method, Results
from studies.gates.options import COLLIDING, COMMAND, RESULTS, TABLES, is_default, read_options
from studies.gates.shelf import Shelf
from studies.gates.tables import groups_of, make_table
from studies.gates.world import CACHE, World, open_world
from studies.loading_bars import hide_loading_bars
from studies.losses import loss_table
from studies.study_file import StudyFile, Table, to_markdown
from studies.tables import LOSSES

CHOICE_SITUATIONS = ("right", "wrong")
"""in which recipes are chosen"""
CHOICE = "choice"
"""name of the table of the recipes"""
ORDER = (CHOICE, *TABLES, LOSSES)
"""of the tables in the report"""
COLLIDING_PART = 3
"""the pairs whose adapters collide are this part of all: those of the largest interaction"""
COLLIDING_TITLE = "Colliding adapters"
UNFINISHED = (
    "The masked sum, or for `colliding` the choice of its pairs, is not finished. Give the options of the run, which "
    "decide its cases: --pairs, --images."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What is measured, and how much of it."""

    world: World
    shelf: Shelf
    results: Results
    collisions: Collisions
    seeds: tuple[int, ...]
    """of the gates; recipes are chosen with the first"""
    choice_pairs: int
    pairs: int
    images: int
    only_finished: bool

    def choose(self, cell: str) -> tuple[Recipe, dict[str, Float64Array]] | None:
        """Return the recipe of a cell that shows both most often, and what all show; None if some is unfinished.

        The second is recipe -> share of each pair's images that show both, (C,); empty if there is no choice.
        """
        recipes = recipes_of(cell)
        if len(recipes) == 1:
            return recipes[0], {}
        cases, shown = self.choice_cases(), dict[str, Float64Array]()
        for recipe in recipes:
            method = Method(cell, recipe, self.seeds[0])
            values = [self.share(method, situation, cases) for situation in CHOICE_SITUATIONS]
            finished = [value for value in values if value is not None]
            if len(finished) < len(values):
                return None
            shown[recipe.title] = np.mean(finished, axis=0)
        return max(recipes, key=lambda recipe: float(shown[recipe.title].mean())), shown

    def choice_cases(self) -> list[PromptCase]:
        """Return the pairs that choose recipes."""
        return self.world.pairs(unseen=False, count=self.choice_pairs, seed=0)

    def share(self, method: Method, situation: str, cases: Sequence[PromptCase]) -> Float64Array | None:
        """Return the share of each pair's images that show both, (C,); None if they are not drawn and shall not be."""
        if not self.only_finished:
            return np.array([self.results.measure(method, situation, case) for case in cases])
        found = [self.results.find(method, situation, case) for case in cases]
        return None if None in found else np.array(found, dtype=np.float64)

    def colliding(self, cases: Sequence[PromptCase]) -> list[PromptCase] | None:
        """Return the pairs with the largest interaction; None if one is not computed and shall not be."""
        find = self.collisions.find if self.only_finished else self.collisions.measure
        interactions = [value for case in cases if (value := find(case)) is not None]
        if len(interactions) < len(cases):
            return None
        order = np.argsort(-np.array(interactions), kind="stable")
        return [cases[index] for index in order[: max(1, len(cases) // COLLIDING_PART)]]

    def losses(self, recipe: Recipe) -> dict[str, Any]:
        """Return seed -> recipe and losses of the gates that are kept."""
        finished = [seed for seed in self.seeds if self.shelf.is_finished(recipe, seed)]
        facts = {seed: self.shelf.training(recipe, seed) for seed in finished}
        return {
            str(seed): {
                "recipe": recipe.title,
                "held_out": training.held_out,
                "best_step": training.best_step,
                "unseen": training.unseen[recipe.kept],
            }
            for seed, training in facts.items()
        }

    def situation(
        self, situation: str, title: str, chosen: Mapping[str, Recipe], cases: Sequence[PromptCase]
    ) -> Table | None:
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
        table = make_table(title, shown, cases, self.images, baseline=PLAIN[0])
        return table | self.describe(cases)

    def describe(self, cases: Sequence[PromptCase]) -> dict[str, Any]:
        """Return what pairs consist of, as fields of a table."""
        adapters, examples = self.world.adapters, self.world.training.adapters
        trained = {adapters[example.sha256].theme for example in examples if example.sha256 in adapters}
        pairs = [
            StudyCase(groups=groups_of(case), adapters=case.adapters, prompt=case.content) for case in cases
        ]
        return describe_cases(pairs, adapters, {theme for theme in trained if theme})

    def _seeds_of(self, recipe: Recipe) -> tuple[int, ...]:
        """Return the seeds of a recipe; gates that are not trained are the same with each, as they start alike."""
        return self.seeds if recipe.learning_rate is not None else self.seeds[:1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in a world, whose cache no other run may write to; one that draws nothing may be beside it."""
    options = read_options(arguments)
    home = Path.cwd()
    os.chdir(options.world)
    show_progress()
    hide_loading_bars()
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
        collisions=Collisions(world),
        seeds=tuple(options.seeds),
        choice_pairs=options.choice_pairs,
        pairs=options.pairs,
        images=options.images,
        only_finished=options.finished,
    )
    file = StudyFile(
        root=home, path=RESULTS, command=COMMAND, world=options.name, write=options.write, order=ORDER
    )
    choices = {cell: found for cell in options.gates if (found := study.choose(cell))}
    if unfinished := [f'"{cell}"' for cell in options.gates if cell not in choices]:
        print(f"Without a row, because the choice of the recipe is not finished: {', '.join(unfinished)}.\n")
    report_choice(file, study, {cell: shown for cell, (_, shown) in choices.items()})
    chosen = {cell: recipe for cell, (recipe, _) in choices.items()}
    report_situations(file, study, options.situations, chosen)
    losses = {cell: study.losses(recipe) for cell, recipe in chosen.items()}
    print(f"## Losses\n\n{loss_table({options.name: losses})}\n", flush=True)
    file.store(LOSSES, {"gates": losses}, today())
    file.remind()
    if is_default(options):
        file.summarize("gates", world.params.fusion.preset, today())


def report_choice(file: StudyFile, study: Study, shown: Mapping[str, Mapping[str, Float64Array]]) -> None:
    """Print and store how often each recipe shows both, if there is a choice. shown: cell -> recipe -> (C,)."""
    rows = {
        f"{cell}: {recipe}": values[None]
        for cell, by_recipe in shown.items()
        for recipe, values in by_recipe.items()
    }
    if rows:
        images, cases = study.images * len(CHOICE_SITUATIONS), study.choice_cases()
        table = make_table("Choice of the recipes", rows, cases, images)
        report(file, CHOICE, table | study.describe(cases))


def report_situations(
    file: StudyFile, study: Study, situations: Sequence[str], chosen: Mapping[str, Recipe]
) -> None:
    """Print and store the tables of the situations. situations: of TABLES."""
    cases = study.world.pairs(unseen=True, count=study.pairs, seed=0)
    for name in situations:
        if name == COLLIDING:
            pairs = study.colliding(cases)
            table = study.situation("right", COLLIDING_TITLE, chosen, pairs) if pairs else None
        else:
            table = study.situation(name, SITUATIONS[name].title, chosen, cases)
        if table:
            report(file, name, table)
        else:
            print(f"## {name}\n\n{UNFINISHED}\n", flush=True)


def report(file: StudyFile, name: str, table: Table) -> None:
    """Print a table, and write it."""
    print(f"{to_markdown(table)}\n", flush=True)
    file.store(name, table, today())


if __name__ == "__main__":
    with exit_on_error():
        main()
