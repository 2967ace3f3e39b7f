"""The ten backgrounds, as gradients, ridges and lights (64, 64, 3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from playground.sdf.layers import SIDE, Rgb, covered, mixed, pixels, rgb
from playground.sdf.shapes import Field, joined

Scenery = Callable[[np.random.Generator], np.ndarray]
_HALF = SIDE / 2


def _fade(top: Rgb, bottom: Rgb) -> np.ndarray:
    """Return a vertical gradient."""
    share = (pixels().y + _HALF) / SIDE
    return mixed(np.broadcast_to(rgb(top), (SIDE, SIDE, 3)), rgb(bottom), share)


def _ridge(rng: np.random.Generator, height: float, swing: float, waves: float) -> Field:
    """Return the field of the ground below a wavy line, `height` pixels below the center."""
    turns = pixels().x * (2 * np.pi * waves / SIDE) + rng.uniform(0, 6.3)
    return np.asarray(height + swing * np.sin(turns) - pixels().y, np.float32)


def _dots(
    rng: np.random.Generator, count: int, top: float, bottom: float, sizes: tuple[float, float]
) -> Field:
    """Return the field of random discs between two heights."""
    spots = rng.uniform((-_HALF, top, sizes[0]), (_HALF, bottom, sizes[1]), size=(count, 3))
    return joined(*(pixels().circle(x, y, r) for x, y, r in spots))


def _white(rng: np.random.Generator) -> np.ndarray:
    floor = covered(_ridge(rng, 20, 0, 1), 12)
    return mixed(_fade((252, 252, 254), (244, 244, 248)), rgb((226, 228, 236)), floor)


def _night_sky(rng: np.random.Generator) -> np.ndarray:
    sky = _fade((34, 22, 76), (10, 26, 58))
    x, y = rng.uniform(14, 24), rng.uniform(-26, -18)
    moon = np.maximum(pixels().circle(x, y, 7), -pixels().circle(x - 4, y - 2, 6.5))
    sky = mixed(sky, rgb((255, 240, 200)), covered(moon))
    for sx, sy in rng.uniform(-_HALF, _HALF, size=(9, 2)):
        right, down = np.abs(pixels().x - sx), np.abs(pixels().y - sy)
        sky = mixed(
            sky,
            rgb((230, 236, 255)),
            np.clip(1.2 - 1.4 * np.sqrt(right * down) - 0.35 * (right + down), 0, 1),
        )
    return sky


def _grass_field(rng: np.random.Generator) -> np.ndarray:
    scene = _fade((190, 226, 240), (236, 246, 236))
    scene = mixed(scene, rgb((250, 252, 252)), covered(_dots(rng, 4, -30, -20, (3, 6)), 3))
    scene = mixed(scene, rgb((126, 190, 110)), covered(_ridge(rng, 2, 5, 1)))
    scene = mixed(scene, rgb((84, 160, 78)), covered(_ridge(rng, 14, 3, 1.5)))
    return mixed(scene, rgb((246, 232, 120)), covered(_dots(rng, 9, 16, 32, (0.6, 1.2))))


def _sand(rng: np.random.Generator) -> np.ndarray:
    scene = _fade((250, 234, 196), (246, 226, 180))
    for height, shade in ((-14, (238, 212, 158)), (2, (226, 196, 140)), (18, (212, 178, 120))):
        scene = mixed(scene, rgb(shade), covered(_ridge(rng, height, 5, 0.8)))
    return scene


def _stripes(rng: np.random.Generator) -> np.ndarray:
    turns = (pixels().x + pixels().y) / 13 + rng.uniform(0, 1)
    bands = np.clip(2.5 * np.sin(2 * np.pi * turns) + 0.5, 0, 1).astype(np.float32)
    return mixed(np.broadcast_to(rgb((252, 250, 244)), (SIDE, SIDE, 3)), rgb((172, 190, 214)), bands)


def _sunset(rng: np.random.Generator) -> np.ndarray:
    sky = _fade((92, 44, 110), (255, 150, 96))
    x = rng.uniform(-10, 10)
    sky = mixed(sky, rgb((255, 226, 140)), covered(pixels().circle(x, 14, 15)))
    sea = mixed(
        _fade((90, 50, 110), (110, 60, 110)),
        rgb((255, 180, 110)),
        0.8 * covered(pixels().ellipse(x, 26, 9, 30), 6),
    )
    sea = sea * (0.92 + 0.08 * np.sin(pixels().y * 1.7))[..., None]
    return mixed(sky, sea, covered(_ridge(rng, 15, 0.3, 4)))


def _snow(rng: np.random.Generator) -> np.ndarray:
    scene = _fade((168, 190, 216), (214, 226, 240))
    scene = mixed(scene, rgb((236, 242, 250)), covered(_ridge(rng, 8, 4, 0.8)))
    scene = mixed(scene, rgb((250, 252, 255)), covered(_ridge(rng, 20, 3, 1.2)))
    return mixed(scene, rgb((255, 255, 255)), covered(_dots(rng, 26, -32, 30, (0.7, 1.9))))


def _city(rng: np.random.Generator) -> np.ndarray:
    scene = _fade((244, 200, 180), (206, 214, 232))
    for base, width, shade in ((-14, 9, (150, 150, 180)), (2, 12, (78, 84, 122))):
        heights = base + rng.uniform(-9, 9, size=SIDE // width + 2)
        columns = (np.arange(SIDE) + int(rng.integers(width))) // width
        towers = heights[columns][None, :] - pixels().y
        scene = mixed(scene, rgb(shade), covered(towers.astype(np.float32)))
    windows = (np.arange(SIDE)[:, None] % 5 < 2) & (np.arange(SIDE)[None, :] % 4 < 1.5)
    return mixed(scene, rgb((255, 226, 150)), (0.85 * (windows & (towers < -3))).astype(np.float32))


def _underwater(rng: np.random.Generator) -> np.ndarray:
    scene = _fade((96, 206, 226), (12, 62, 120))
    rays = np.sin((pixels().x + 0.5 * pixels().y) * 0.42 + rng.uniform(0, 6.3)) * np.clip(
        0.5 - pixels().y / 40, 0, 1
    )
    scene = mixed(scene, rgb((210, 246, 246)), np.clip(0.35 * rays, 0, 1).astype(np.float32))
    for x in rng.uniform(-30, 30, size=3):
        sway = x + 2.5 * np.sin(pixels().y / 4 + x)
        weed = np.maximum(np.abs(pixels().x - sway) - 1.6, 8 - pixels().y)
        scene = mixed(scene, rgb((20, 130, 104)), covered(weed))
    bubbles = np.abs(_dots(rng, 6, -26, 24, (1.5, 3))) - 0.4
    return mixed(scene, rgb((226, 250, 255)), covered(bubbles))


def _forest(rng: np.random.Generator) -> np.ndarray:
    scene = _fade((196, 214, 180), (150, 180, 140))
    for base, width, shade in ((-6, 11, (104, 148, 112)), (8, 15, (44, 96, 76))):
        place = (pixels().x + rng.uniform(0, width)) / width
        tip = np.abs(place - np.floor(place) - 0.5) * 2
        lift = 6 * np.sin(2.6 * np.floor(place) + base)
        firs = base + lift - 18 + 26 * tip - pixels().y
        scene = mixed(scene, rgb(shade), covered(firs.astype(np.float32)))
    return mixed(scene, rgb((70, 92, 58)), covered(_ridge(rng, 25, 1, 1)))


SCENERY: dict[str, Scenery] = {
    "white": _white,
    "night sky": _night_sky,
    "grass field": _grass_field,
    "sand": _sand,
    "stripes": _stripes,
    "sunset": _sunset,
    "snow": _snow,
    "city": _city,
    "underwater": _underwater,
    "forest": _forest,
}
"""background -> its function"""
