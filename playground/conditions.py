"""Command: train LoRAs of the same themes under conditions that differ from those of the committed pool.

    python -m playground.conditions [CONDITION ...] [--loras N] [--scale S]

CONDITION is one of the names of CONDITIONS; the default is all of them. The LoRAs of a condition are in
cache/playground/attack/CONDITION: a pool that the hub can serve, and themes.json. A LoRA differs between
conditions only in what the condition names, so measurements are paired. The command continues after an interruption.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from autolora.errors import exit_on_error
from autolora.storage.lock import exclusive_folder
from playground import authors, bases, loras, pool

HOME = bases.CACHE / "attack"
ABSENT = ("rocket", "clay", "guitar", "crayon", "golden")
"""themes of the committed pool without an adapter in its training split"""
COVERED = ("cat", "watercolour", "city", "moonlight")
"""themes with one; one of each kind"""
FIRST, NAMES_SEED = 300, 8


@dataclass(frozen=True)
class Condition:
    """How LoRAs are trained: on a base, with factors of an author's habit."""

    base: bases.Base = bases.MAIN
    steps: int = 1
    rate: float = 1.0
    prior: float | None = None
    """share of plain drawings without the trigger word; if None, that of the habit"""

    def change(self, recipe: authors.Recipe) -> authors.Recipe:
        """Return a recipe under this condition."""
        habit = recipe.habit
        prior = habit.prior if self.prior is None else self.prior
        changed = replace(habit, steps=self.steps * habit.steps, rate=self.rate * habit.rate, prior=prior)
        return replace(recipe, habit=changed)


_SEED, _BOTH = bases.FURTHER["seed"], bases.FURTHER["both"]
CONDITIONS = {
    "standard": Condition(),
    "rate": Condition(rate=5.0),
    "prior": Condition(prior=0.5),
    "longer": Condition(steps=4),
    "both": Condition(_BOTH),
    "seed": Condition(_SEED),
    "all": Condition(_SEED, steps=4, rate=5.0, prior=0.5),
    "all-both": Condition(_BOTH, steps=4, rate=5.0, prior=0.5),
}
"""name -> condition; `all` combines training and another seed of the base, `all-both` training and both engines"""


def recipes(condition: Condition) -> list[authors.Recipe]:
    """Return the recipes of a condition: the absent themes, the covered ones, the absent themes again."""
    entries = [(theme, 1) for theme in (*ABSENT, *COVERED, *ABSENT)]
    return [condition.change(recipe) for recipe in authors.make_recipes(entries, FIRST, NAMES_SEED)]


def build(name: str, count: int | None = None, scale: float = 1.0) -> dict[str, float]:
    """Train the first `count` LoRAs of a condition; return the shares of renderings that show their theme.

    Raises FileNotFoundError if the base is not trained.
    """
    condition, home = CONDITIONS[name], HOME / name
    if not (condition.base.home / "model_index.json").exists():
        command = f"python -m playground.bases {condition.base.home.name.removeprefix('flux-')}"
        raise FileNotFoundError(f"{condition.base.home} does not exist: train the base with `{command}`")
    chosen = recipes(condition)[:count]
    for _ in loras.train_missing(chosen, home / "pool", condition.base.home, scale):
        _write_pool(chosen, home)
    _write_pool(chosen, home)
    return pool.check(chosen, home / "pool")


def _write_pool(chosen: list[authors.Recipe], home: Path) -> None:
    """Write the cards, the schedule and the themes of the LoRAs that are trained so far."""
    trained = [recipe for recipe in chosen if (home / "pool" / recipe.repo / recipe.file).exists()]
    pool.write(trained, home / "pool", home / "themes.json")


def main() -> None:
    """Train the LoRAs of some conditions, one after the other."""
    parser = argparse.ArgumentParser(description="Train LoRAs under other conditions.")
    parser.add_argument("conditions", nargs="*", metavar="CONDITION", help=", ".join(CONDITIONS))
    parser.add_argument(
        "--loras", type=int, metavar="N", help="train only the first N LoRAs of each condition"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the numbers of training steps")
    options = parser.parse_args()
    if unknown := [name for name in options.conditions if name not in CONDITIONS]:
        parser.error(f"unknown conditions: {', '.join(unknown)}; choose from {', '.join(CONDITIONS)}")
    torch.set_num_threads(1)
    for name in options.conditions or CONDITIONS:
        try:
            with exclusive_folder(HOME / name, ", or name another condition"):
                print(name, build(name, options.loras, options.scale), flush=True)
        except FileNotFoundError as error:
            parser.error(str(error))


if __name__ == "__main__":
    with exit_on_error():
        main()
