"""The layers of a drawing: its background, and its object as colors, coverage and distances from edges."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from playground.sdf.shapes import Field, Plane

SIDE = 64
"""pixels of a drawing"""
Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "red": (206, 28, 66),
    "orange": (242, 112, 44),
    "yellow": (236, 200, 44),
    "green": (22, 148, 96),
    "blue": (44, 118, 206),
    "purple": (150, 74, 206),
    "pink": (246, 112, 164),
    "brown": (146, 92, 54),
}
"""colour of a scene -> the engine's own shade of it"""


def rgb(color: Rgb) -> np.ndarray:
    """Return a color (3,) in 0..1."""
    return np.array(color, np.float32) / 255


INK, IVORY, WOOD, LEAF = rgb((36, 30, 44)), rgb((252, 246, 232)), rgb((120, 84, 62)), rgb((66, 150, 84))
FLAME, CLAY, BEAK = rgb((255, 176, 60)), rgb((196, 110, 76)), rgb((248, 160, 40))
"""colors of parts that do not depend on that of the object"""


@functools.cache
def pixels() -> Plane:
    """Return the plane whose units are pixels from the center of the drawing."""
    axis = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    x, y = np.meshgrid(axis, axis)
    return Plane(x, y)


def mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Return pixels `a` mixed with a share (0..1) of `b`; a share (H, W) applies to all channels."""
    if isinstance(share, np.ndarray) and share.ndim == 2:
        share = share[..., None]
    return np.asarray(a + (b - a) * share, np.float32)


def covered(distance: Field, softness: float = 1.0) -> Field:
    """Return the coverage (H, W) in 0..1 of a shape, given its field in pixels; `softness` is its edge in pixels."""
    return np.asarray(np.clip(0.5 - distance / softness, 0, 1), np.float32)


@dataclass(eq=False)
class Layers:
    """The object of a drawing, painted part by part, and the background behind it."""

    background: np.ndarray
    """(64, 64, 3) in 0..1"""
    plane: Plane
    """coordinates in units of the object's radius"""
    radius: float
    """in pixels"""
    main: np.ndarray
    """the object's color (3,)"""
    colors: np.ndarray = field(init=False)
    """of the object (64, 64, 3)"""
    distance: Field = field(init=False)
    """the object's signed distance in pixels (64, 64)"""
    lines: Field = field(init=False)
    """the distance in pixels (64, 64) from the nearest visible edge of a part"""

    def __post_init__(self) -> None:
        self.colors = np.broadcast_to(self.main, self.background.shape).astype(np.float32)
        self.distance = np.full(self.background.shape[:2], SIDE, np.float32)
        self.lines = self.distance.copy()

    @property
    def deep(self) -> np.ndarray:
        """The object's color, darker: parts in the shade."""
        return np.asarray(self.main * np.float32(0.62))

    @property
    def pale(self) -> np.ndarray:
        """The object's color, lighter: parts in the light."""
        return np.asarray(self.main + (1 - self.main) * np.float32(0.66))

    @property
    def coverage(self) -> Field:
        """The coverage (64, 64) of the object."""
        return covered(self.distance)

    def paint(self, shape: Field, color: np.ndarray | None = None) -> None:
        """Paint a part of the object over the parts so far; the default color is the main one."""
        distance = shape * np.float32(self.radius)
        cover = covered(distance)
        self.colors = mixed(self.colors, self.main if color is None else color, cover)
        self.lines = np.where(distance < 0, -distance, np.minimum(self.lines, distance))
        self.distance = np.minimum(self.distance, distance)

    def flat(self) -> np.ndarray:
        """Return the object on its background, without shade (64, 64, 3)."""
        return mixed(self.background, self.colors, self.coverage)
