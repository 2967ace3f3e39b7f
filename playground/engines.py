"""The drawing engines: each draws a scene of the world as an image of 64x64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from playground import world

Draw = Callable[[world.Scene, np.random.Generator], Image.Image]

WORLD, SECOND = "world", "second"
DRAW: dict[str, Draw] = {WORLD: world.draw}
"""engine -> its function"""
ENGINES = (WORLD, SECOND)
