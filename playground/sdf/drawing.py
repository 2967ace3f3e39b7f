"""Drawings by the second engine: the scenes of the world in other shapes, shades, backgrounds and styles.

It shares the scenes with world.py, but no code that draws. All randomness comes from the caller's generator.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from playground.sdf.layers import COLOURS, SIDE, Layers, pixels, rgb
from playground.sdf.objects import PAINT
from playground.sdf.scenery import SCENERY
from playground.sdf.shapes import Plane
from playground.sdf.styles import STYLES
from playground.world import Scene

RADIUS = (21.0, 26.0)
"""smallest and largest radius of an object in pixels"""
SHIFT, TURN = 3.5, 10.0
"""largest distance of an object from the center in pixels, and its largest turn in degrees"""
MIRRORED_SHARE = 0.5


def draw(scene: Scene, rng: np.random.Generator, size: int = SIDE) -> Image.Image:
    """Return a 64x64 RGB image of a scene; position, size, turn and direction of the object are random.

    Raises ValueError for another size.
    """
    if size != SIDE:
        raise ValueError(
            f"{size} pixels per side, expected {SIDE}: only the first engine draws larger images"
        )
    background = SCENERY[scene.background](rng)
    radius = rng.uniform(*RADIUS)
    layers = Layers(background, _place(radius, rng), radius, rgb(COLOURS[scene.colour]))
    PAINT[scene.object](layers)
    values = STYLES[scene.style](layers, rng)
    return Image.fromarray((np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8))


def _place(radius: float, rng: np.random.Generator) -> Plane:
    """Return the object's plane, in units of its radius."""
    x, y = rng.uniform(-SHIFT, SHIFT, size=2)
    turned = pixels().turned(rng.uniform(-TURN, TURN), x, y)
    side = -1 if rng.random() < MIRRORED_SHARE else 1
    return Plane(turned.x * np.float32(side / radius), turned.y * np.float32(1 / radius))
