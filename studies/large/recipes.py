"""The recipes of the large world: its base, and 64 LoRAs of the playground's 38 themes.

Twelve themes are held out: their LoRAs appear on the second day, so that a training lock of the first day contains none
of them. The others have two LoRAs each.
"""

from __future__ import annotations

import numpy as np

from playground import authors, world
from playground.bases import CACHE, Base
from playground.themes import KINDS, single_themes

HOME = CACHE / "128"
BASE = Base(HOME / "flux-large", seed=20260104, size=2 * world.SIZE)
SEED, FIRST = 128, 900
HELD_OUT = {"style": 6, "object": 6}
"""kind -> number of its themes that are held out"""
UPLOADS, UPLOADS_HELD_OUT = 2, 1
"""numbers of LoRAs per theme"""


def held_out() -> set[str]:
    """Return the themes that are held out."""
    rng = np.random.default_rng(SEED)
    return {str(name) for kind, count in HELD_OUT.items() for name in rng.permutation(KINDS[kind])[:count]}


def recipes() -> list[authors.Recipe]:
    """Return every recipe in a fixed order: those of the first day first."""
    hidden = held_out()
    entries = [(theme, 1) for theme in single_themes() if theme not in hidden for _ in range(UPLOADS)]
    entries += [(theme, 2) for theme in single_themes() if theme in hidden for _ in range(UPLOADS_HELD_OUT)]
    return authors.make_recipes(entries, FIRST, SEED)
