"""The drawing engines: each draws the scenes of the world as square images of a size in pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from playground import world
from playground.sdf import drawing

WORLD, SECOND = "world", "second"
DRAW: dict[str, Callable[[world.Scene, np.random.Generator, int], Image.Image]] = {
    WORLD: world.draw,
    SECOND: drawing.draw,
}
"""engine -> its function"""
ENGINES = tuple(DRAW)
