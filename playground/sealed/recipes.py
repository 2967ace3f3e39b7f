"""The recipes of the sealed pool's LoRAs: 64 themes, of which twelve are held out, in unequal quality.

Held-out themes appear on the second day, so that a training lock of the first day contains no adapter of them. A theme
that is held out is a part of no mixture of the first day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from playground import authors
from playground.themes import KINDS, MIXED, single_themes

SEED, FIRST = 162, 600
HELD_OUT_SINGLES = {"style": 3, "object": 2, "palette": 1, "scene": 1}
"""kind -> number of its themes that are held out"""
HELD_OUT_MIXTURES = 5
MIXTURES = (("object", "style", 12), ("object", "palette", 3), ("scene", "style", 3), ("object", "scene", 3))
"""two kinds, and the number of mixtures of their themes on the first day"""
UPLOADS, UPLOADS_OF_MIXTURES = 3, 2
"""numbers of LoRAs per theme; a held-out mixture has UPLOADS"""
MAX_RENDERINGS = 5

GOOD, MISLABELLED = "good", "mislabelled"
QUALITIES = (
    *[GOOD] * 9, "faint", "faint", "undertrained", "overtrained", "overtrained",
    "prior", "fast", "slow", "large", MISLABELLED, MISLABELLED,
)  # fmt: skip
"""dealt to the LoRAs in random order"""
CAPTIONINGS = (
    *[authors.NAMED] * 5, authors.TRIGGER_ONLY, authors.TAGS, authors.TAGS, authors.OTHER, authors.UNTRIGGERED,
)  # fmt: skip
"""dealt likewise"""


@dataclass(frozen=True)
class SealedRecipe:
    """One LoRA of the sealed pool, with what only the evaluation reads."""

    recipe: authors.Recipe
    quality: str
    is_held_out: bool


@dataclass(frozen=True)
class Themes:
    """The themes of the sealed pool."""

    visible: tuple[str, ...]
    visible_mixtures: tuple[str, ...]
    held_out: tuple[str, ...]
    held_out_mixtures: tuple[str, ...]


def themes() -> Themes:
    """Return the themes; a held-out mixture consists of a held-out theme and a visible one."""
    rng = np.random.default_rng(SEED)
    order = {kind: [str(name) for name in rng.permutation(names)] for kind, names in KINDS.items()}
    held_out = {kind: names[: HELD_OUT_SINGLES[kind]] for kind, names in order.items()}
    visible = {kind: names[HELD_OUT_SINGLES[kind] :] for kind, names in order.items()}
    mixtures = [
        mixture
        for first, second, count in MIXTURES
        for mixture in _mix(visible[first], visible[second], count)
    ]
    hidden = [
        *_mix(held_out["object"], visible["style"][::-1], len(held_out["object"])),
        *_mix(visible["object"][::-1], held_out["style"], HELD_OUT_MIXTURES - len(held_out["object"])),
    ]
    names = [name for names in visible.values() for name in names]
    singles = tuple(theme for theme in single_themes() if theme in names)
    others = tuple(theme for theme in single_themes() if theme not in names)
    return Themes(singles, tuple(mixtures), others, tuple(hidden))


def _mix(first: Sequence[str], second: Sequence[str], count: int) -> list[str]:
    """Return `count` different mixtures of two kinds' themes, which take turns."""
    turns = [second[(number + number // len(first)) % len(second)] for number in range(count)]
    return [f"{first[number % len(first)]}{MIXED}{other}" for number, other in enumerate(turns)]


def recipes() -> list[SealedRecipe]:
    """Return every recipe in a fixed order: those of the first day first."""
    chosen = themes()
    entries = [(theme, 1) for theme in chosen.visible for _ in range(UPLOADS)]
    entries += [(theme, 1) for theme in chosen.visible_mixtures for _ in range(UPLOADS_OF_MIXTURES)]
    hidden = (*chosen.held_out, *chosen.held_out_mixtures)
    entries += [(theme, 2) for theme in hidden for _ in range(UPLOADS)]
    plain = authors.make_recipes(entries, FIRST, SEED)
    rng = np.random.default_rng(SEED + 1)
    qualities, captionings = _deal(QUALITIES, len(plain), rng), _deal(CAPTIONINGS, len(plain), rng)
    return [
        SealedRecipe(_vary(recipe, quality, captioning, chosen.visible, rng), quality, recipe.day == 2)
        for recipe, quality, captioning in zip(plain, qualities, captionings, strict=True)
    ]


def spread(count: int | None) -> list[SealedRecipe]:
    """Return `count` recipes at equal distances, so that few LoRAs show both days and all kinds of themes; None: all.

    Raises ValueError if there are not as many.
    """
    entries = recipes()
    chosen = len(entries) if count is None else count
    if not 0 < chosen <= len(entries):
        raise ValueError(f"{chosen} LoRAs, expected 1 to {len(entries)}")
    return [entries[number * len(entries) // chosen] for number in range(chosen)]


def _deal(cards: Sequence[str], count: int, rng: np.random.Generator) -> Iterator[str]:
    """Yield `count` cards: all of them in random order, again and again."""
    for number in range(count):
        if number % len(cards) == 0:
            order = rng.permutation(len(cards))
        yield cards[order[number % len(cards)]]


def _vary(
    recipe: authors.Recipe, quality: str, captioning: str, visible: Sequence[str], rng: np.random.Generator
) -> authors.Recipe:
    """Return a recipe of a quality, with a captioning and a random number of renderings."""
    habit, strength = recipe.habit, recipe.strength
    habit = {
        "undertrained": replace(habit, steps=habit.steps // 4),
        "overtrained": replace(habit, steps=3 * habit.steps, drawings=12),
        "prior": replace(habit, prior=0.5),
        "fast": replace(habit, rate=3 * habit.rate),
        "slow": replace(habit, rate=habit.rate / 3),
        "large": replace(habit, rank=24),
    }.get(quality, habit)
    others = [theme for theme in visible if theme not in recipe.theme.split(MIXED)]
    varied = replace(
        recipe,
        habit=habit,
        strength=0.3 if quality == "faint" else strength,
        captioning=captioning,
        shown=str(rng.choice(others)) if quality == MISLABELLED else None,
        renderings=int(rng.integers(1, MAX_RENDERINGS + 1)),
    )
    return authors.with_storable_layout(varied)
