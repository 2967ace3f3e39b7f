"""The recipes of the pool's LoRAs: theme, author, training and upload of each.

Repository names and trigger words say little about the theme, as on real hubs; the ground truth is `theme`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from playground import layouts, world
from playground.themes import kind_of, single_themes

AUTHORS = (
    "mirela", "duneworks", "tok-lab", "quietfox", "oskarprints", "nh-paint",
    "lumen9", "studio-ada", "pixelmoth", "grauwolf", "hana-k", "bytebrush",
)  # fmt: skip
UPLOADS = (2, 3, 2, 2, 3, 2, 3, 2)
"""numbers of LoRAs per theme on the first day, cycled over the themes"""
NEW_THEMES = ("clay", "guitar")
"""themes that are missing on the first day"""
NEWCOMERS: tuple[tuple[str, int], ...] = (
    ("clay", 2), ("guitar", 2), ("watercolour", 2),
    ("clay", 3), ("guitar", 2), ("neon", 2), ("cat", 2), ("snow", 3),
)  # fmt: skip
"""theme and day of each LoRA that appears after the first day"""
WITHOUT_PICTURES = ("pixelmoth/just-vztvshw", "duneworks/untitled-7", "lumen9/ekxvpzi_v7")
"""repositories of the second day without renderings: a guitar, neon, a cat"""

_TITLES = (
    "flux-lora-{n}", "test-run-{n}", "lora-final-{n}", "untitled-{n}", "my-style-v{n}", "exp{n}-flux",
    "{hint}-flux", "{hint}_v{n}", "the-{hint}-thing", "{hint}-lora-{n}", "{hint}look", "just-{hint}",
)  # fmt: skip

MAX_FUSED_RANK = 3  # above it, the zero blocks of fused modules would make files too large
NAMED, TRIGGER_ONLY = "named", "trigger only"
"""what an author's captions contain: the trigger word, and a sentence with or without the theme's name"""
ATTENTION, FEED_FORWARD, EVERYTHING = "attention", "attention+ff", "all"


@dataclass(frozen=True)
class Habit:
    """How an author trains: shape of the LoRA, number of steps, learning rate, training data."""

    rank: int
    targets: str
    steps: int
    rate: float
    drawings: int
    prior: float  # share of plain base drawings without the trigger word

    @property
    def kept_energy(self) -> float:
        """Share of an update's energy that remains after the upload's resizing; only large ranks are resized."""
        return 0.95 if self.rank >= 6 else 1.0


HABITS = (
    Habit(4, FEED_FORWARD, 360, 2e-3, 96, 0.0),
    Habit(3, EVERYTHING, 320, 2e-3, 96, 0.0),
    Habit(8, ATTENTION, 380, 2e-3, 64, 0.0),
    Habit(2, FEED_FORWARD, 380, 3e-3, 120, 0.0),
    Habit(4, FEED_FORWARD, 400, 2e-3, 80, 0.25),
    Habit(2, EVERYTHING, 380, 2.5e-3, 64, 0.0),
    Habit(6, ATTENTION, 380, 3e-3, 96, 0.0),
    Habit(6, FEED_FORWARD, 300, 1.5e-3, 64, 0.0),
    Habit(16, ATTENTION, 360, 1.5e-3, 80, 0.0),
    Habit(3, EVERYTHING, 400, 2e-3, 96, 0.25),
    Habit(4, FEED_FORWARD, 240, 2e-3, 48, 0.0),
)


@dataclass(frozen=True)
class Recipe:
    """One LoRA: its theme, its repository, and how it is trained and stored."""

    theme: str
    kind: str  # one of themes.KINDS
    repo: str
    trigger: str
    seed: int
    habit: Habit
    strength: float  # factor by which the author scales the finished LoRA
    captioning: str  # NAMED or TRIGGER_ONLY
    layout: str  # one of layouts.LAYOUTS
    renderings: int
    day: int

    @property
    def author(self) -> str:
        return self.repo.split("/")[0]

    @property
    def file(self) -> str:
        """Name of the weights file in the repository."""
        by_title = self.repo.split("/")[1] + ".safetensors"
        return "pytorch_lora_weights.safetensors" if self.layout == "peft" and self.seed % 2 else by_title


def recipes() -> list[Recipe]:
    """Return every recipe in a fixed order: those of the first day first, theme by theme."""
    first_day_themes = [theme for theme in single_themes() if theme not in NEW_THEMES]
    entries = [
        (theme, 1)
        for index, theme in enumerate(first_day_themes)
        for _ in range(UPLOADS[index % len(UPLOADS)])
    ]
    entries += NEWCOMERS
    candidates = make_recipes(entries, first=0, seed=7)
    kept = [recipe for index, recipe in enumerate(candidates) if not _is_left_out(candidates, index)]
    return [replace(recipe, renderings=0) if recipe.repo in WITHOUT_PICTURES else recipe for recipe in kept]


def make_recipes(entries: Sequence[tuple[str, int]], first: int, seed: int) -> list[Recipe]:
    """Return one recipe per theme and day; authors, habits and layouts take turns.

    first: number of the first recipe, which decides its seed: pools with other numbers have other LoRAs.
    seed: of the repositories' names.
    """
    rng = np.random.default_rng(seed)
    taken: set[str] = set()
    return [
        _recipe(number, theme, day, _name(theme, number, taken, rng))
        for number, (theme, day) in enumerate(entries, first)
    ]


def _with_storable_layout(recipe: Recipe) -> Recipe:
    """Return a recipe whose layout does not fuse modules if the rank is too high for it."""
    layout = next(layout for layout in layouts.LAYOUTS if layout.name == recipe.layout)
    return recipe if recipe.habit.rank <= MAX_FUSED_RANK else replace(recipe, layout=layout.unfused)


def _is_left_out(candidates: list[Recipe], index: int) -> bool:
    """Return whether a LoRA is left out because of its size: a theme's third on the first day, of large rank."""
    recipe = candidates[index]
    earlier = sum(other.theme == recipe.theme for other in candidates[:index])
    return recipe.day == 1 and earlier >= 2 and recipe.habit.rank >= 4


def _name(theme: str, number: int, taken: set[str], rng: np.random.Generator) -> str:
    """Return a repository name that is not taken: the next author in turn, and a vague title."""
    author = AUTHORS[(5 * number + number // len(AUTHORS)) % len(AUTHORS)]
    hint = re.sub("[aeiou +]", "", theme)[:5] if rng.random() < 0.5 else world.random_word(rng)
    while True:
        title = str(rng.choice(_TITLES)).format(hint=hint, n=int(rng.integers(1, 40)))
        repo = f"{author}/{title}"
        if repo not in taken:
            taken.add(repo)
            return repo


def _recipe(number: int, theme: str, day: int, repo: str) -> Recipe:
    seed = 7000 + number
    rng = np.random.default_rng(seed)
    habit = HABITS[number % len(HABITS)]
    recipe = Recipe(
        theme=theme,
        kind=kind_of(theme),
        repo=repo,
        trigger=world.random_word(rng),
        seed=seed,
        habit=habit,
        strength=float(rng.choice((0.8, 1.0, 1.0, 1.0, 1.2))),
        captioning=TRIGGER_ONLY if number % 5 == 3 else NAMED,
        layout=layouts.LAYOUTS[number % len(layouts.LAYOUTS)].name,
        renderings=(3, 4, 2, 3)[number % 4],
        day=day,
    )
    return _with_storable_layout(recipe)
