"""Who made which LoRA of the pool: themes, authors, and how each of them trains and uploads.

Names and trigger words are as unhelpful as on real hubs; the truth is the theme.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from playground import layouts, world

KINDS: dict[str, tuple[str, ...]] = {
    "style": world.STYLES,
    "object": world.UNSEEN_OBJECTS,
    "palette": world.PALETTES,
    "scene": world.SCENES,
}
AUTHORS = (
    "mirela", "duneworks", "tok-lab", "quietfox", "oskarprints", "nh-paint",
    "lumen9", "studio-ada", "pixelmoth", "grauwolf", "hana-k", "bytebrush",
)  # fmt: skip
UPLOADS = (2, 3, 2, 2, 3, 2, 3, 2)
"""LoRAs of a theme on the first day, themes taking turns"""
NEW_THEMES = ("clay", "guitar")
"""themes that are not there on the first day"""
NEWCOMERS: tuple[tuple[str, int], ...] = (
    ("clay", 2), ("guitar", 2), ("watercolour", 2),
    ("clay", 3), ("guitar", 3), ("neon", 3), ("cat", 3), ("snow", 3),
)  # fmt: skip
"""theme and day of each LoRA that appears after the first day"""

_VAGUE = (
    "flux-lora-{n}", "test-run-{n}", "lora-final-{n}", "untitled-{n}", "my-style-v{n}", "exp{n}-flux",
    "{hint}-flux", "{hint}_v{n}", "the-{hint}-thing", "{hint}-lora-{n}", "{hint}look", "just-{hint}",
)  # fmt: skip

FUSED_UP_TO = 3  # rank; above it, blocks of zeros in fused modules would make files too large
ATTENTION, FEED_FORWARD, EVERYTHING = "attention", "attention+ff", "all"


@dataclass(frozen=True)
class Habit:
    """How somebody trains: LoRA shape, length, learning rate, material."""

    rank: int
    targets: str
    steps: int
    rate: float
    drawings: int
    prior: float  # share of plain base drawings without the trigger word

    @property
    def kept(self) -> float:
        """Share of each update's energy that the author keeps: large ranks are resized before the upload."""
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
    """One LoRA: what it shows, who uploads it as what, and how it is trained and stored."""

    theme: str
    kind: str  # one of KINDS
    repo: str
    trigger: str
    seed: int
    habit: Habit
    strength: float  # what the author scales the finished LoRA by
    names_theme: bool  # whether captions carry the theme's plain name too
    layout: str  # one of layouts.LAYOUTS
    renderings: int
    day: int

    @property
    def author(self) -> str:
        return self.repo.split("/")[0]

    @property
    def file(self) -> str:
        """Name of the weights file inside the repository."""
        own = self.repo.split("/")[1] + ".safetensors"
        return "pytorch_lora_weights.safetensors" if self.layout == "peft" and self.seed % 2 else own


def recipes() -> list[Recipe]:
    """List every recipe, always in the same order: first the first day's, theme by theme."""
    kinds = {theme: kind for kind, themes in KINDS.items() for theme in themes}
    founding = [theme for theme in kinds if theme not in NEW_THEMES]
    entries = [
        (theme, 1) for place, theme in enumerate(founding) for _ in range(UPLOADS[place % len(UPLOADS)])
    ]
    entries += NEWCOMERS
    rng = np.random.default_rng(7)
    taken: set[str] = set()
    made = [
        _recipe(number, theme, kinds[theme], day, _name(theme, number, taken, rng))
        for number, (theme, day) in enumerate(entries)
    ]
    return [recipe for place, recipe in enumerate(made) if not _is_left_out(made, place)]


def _is_left_out(made: list[Recipe], place: int) -> bool:
    """Whether a LoRA is left out to keep the repository small: a theme's third on the first day, if large."""
    recipe = made[place]
    earlier = sum(other.theme == recipe.theme for other in made[:place])
    return recipe.day == 1 and earlier >= 2 and recipe.habit.rank >= 4


def _name(theme: str, number: int, taken: set[str], rng: np.random.Generator) -> str:
    """Find a repository name that is not taken: authors take turns, the title says little."""
    author = AUTHORS[(5 * number + number // len(AUTHORS)) % len(AUTHORS)]
    hint = re.sub("[aeiou ]", "", theme)[:5] if rng.random() < 0.5 else world.nonsense(rng)
    while True:
        title = str(rng.choice(_VAGUE)).format(hint=hint, n=int(rng.integers(1, 40)))
        repo = f"{author}/{title}"
        if repo not in taken:
            taken.add(repo)
            return repo


def _recipe(number: int, theme: str, kind: str, day: int, repo: str) -> Recipe:
    seed = 7000 + number
    rng = np.random.default_rng(seed)
    habit = HABITS[number % len(HABITS)]
    layout = layouts.LAYOUTS[number % len(layouts.LAYOUTS)]
    return Recipe(
        theme=theme,
        kind=kind,
        repo=repo,
        trigger=world.nonsense(rng),
        seed=seed,
        habit=habit,
        strength=float(rng.choice((0.8, 1.0, 1.0, 1.0, 1.2))),
        names_theme=number % 5 != 3,
        layout=layout.name if habit.rank <= FUSED_UP_TO else layout.unfused,
        renderings=(3, 4, 2, 3)[number % 4],
        day=day,
    )
