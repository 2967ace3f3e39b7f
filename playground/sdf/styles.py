"""The styles and palettes: each renders the layers of a drawing as pixels (64, 64, 3) in 0..1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from playground.sdf.effects import (
    blurred,
    displaced,
    luminance,
    moved,
    noise,
    scenery_edges,
    shade,
    stroke,
    tiled,
    vivid,
    waves,
)
from playground.sdf.layers import SIDE, Layers, Rgb, covered, mixed, pixels, rgb
from playground.sdf.shapes import Plane

Style = Callable[[Layers, np.random.Generator], np.ndarray]


def _paper(color: Rgb) -> np.ndarray:
    return np.broadcast_to(rgb(color), (SIDE, SIDE, 3))


def _cells(size: float, degrees: float = 0.0) -> tuple[Plane, np.ndarray]:
    """Return the coordinates within square cells, in pixels from their centers, and the number of each cell."""
    turned = pixels().turned(degrees)
    columns, rows = np.floor(turned.x / size), np.floor(turned.y / size)
    inner = Plane(turned.x - (columns + 0.5) * size, turned.y - (rows + 0.5) * size)
    return inner, ((rows + 64) * 128 + columns + 64).astype(np.intp)


def _plain(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    return shade(layers, 1.0)


def _watercolour(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    spread = layers.distance + 2.2 * noise(rng, 12, 12)
    wash = mixed(
        _paper((252, 250, 244)), blurred(layers.background, 3), np.clip(0.4 + 0.3 * noise(rng, 5, 5), 0, 1)
    )
    pigment = 0.6 + 0.22 * noise(rng, 7, 7) + 0.32 * np.exp(-np.abs(spread + 1) / 1.2)
    return mixed(wash, blurred(layers.colors, 1.2), covered(spread, 2.5) * np.clip(pigment, 0, 1))


def _ink_sketch(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    tone = luminance(shade(layers, 1.0))
    bend = 0.3 * noise(rng, 6, 6)
    hatch = np.clip((0.62 - tone) * 3, 0, 1) * (waves(3.2, 35, bend) > 0.2)
    hatch = np.maximum(hatch, np.clip((0.36 - tone) * 3, 0, 1) * (waves(3.2, -40, bend) > 0.2))
    line = np.maximum(stroke(layers, 1.6), 0.5 * scenery_edges(layers))
    page = mixed(_paper((240, 232, 214)), layers.main, 0.4 * layers.coverage)
    return mixed(page, rgb((52, 40, 36)), np.maximum(line, 0.7 * hatch))


def _pixel_art(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    coarse = tiled(layers.flat(), _cells(4)[1])
    rim = tiled(np.repeat(stroke(layers, 2.0)[..., None], 3, -1), _cells(4)[1])
    return np.asarray(np.rint(vivid(coarse, 1.25) * 5) / 5 * (1 - 0.45 * (rim > 0.55)))


def _halftone(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    inner, cells = _cells(4.6, 30)
    mean = tiled(shade(layers, 1.0), cells)
    radius = 3.3 * np.sqrt(np.clip(1.05 - luminance(mean), 0, 1))
    ink = vivid(mean, 1.6) * np.float32(0.72)
    return mixed(_paper((255, 250, 236)), ink, covered(np.hypot(inner.x, inner.y) - radius))


def _neon(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    night = mixed(_paper((16, 8, 30)), layers.background, 0.1)
    glow = 0.75 * np.exp(-layers.lines / 3.2) + 0.3 * scenery_edges(layers)
    tube = np.exp(-((layers.lines / 1.1) ** 2))
    bright = mixed(layers.main, np.ones(3, np.float32), 0.15) * np.float32(1.15)
    return mixed(mixed(night, bright, np.clip(glow, 0, 1)), np.ones(3, np.float32), 0.75 * tube)


def _mosaic(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    inner, cells = _cells(6.0, 18)
    stones = tiled(shade(layers, 1.0), cells) * (0.9 + 0.2 * ((cells * 37) % 11) / 10)[..., None]
    gap = covered(2.3 - np.maximum(np.abs(inner.x), np.abs(inner.y)))
    return mixed(vivid(stones, 1.15), rgb((232, 226, 214)), gap)


def _woodcut(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    tone = (
        luminance(shade(layers, 1.0)) + 0.28 * waves(4.2, 90, 0.5 * noise(rng, 4, 4)) + 0.2 * layers.coverage
    )
    cut = np.clip((tone - 0.55) * 6 + 0.5, 0, 1)
    page = mixed(_paper((236, 214, 178)), layers.main, 0.6 * layers.coverage)
    carved = mixed(rgb((34, 22, 20)), page, cut)
    return mixed(carved, rgb((34, 22, 20)), stroke(layers, 2.2))


def _stained_glass(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    spots = rng.uniform(-SIDE / 2, SIDE / 2, size=(26, 2)).astype(np.float32)
    away = np.hypot(pixels().x[..., None] - spots[:, 0], pixels().y[..., None] - spots[:, 1])
    nearest = np.partition(away, 1, -1)
    panes = away.argmin(-1) * 2 + (layers.distance < 0)
    glass = vivid(tiled(layers.flat(), panes), 1.5) * (0.85 + 0.3 * blurred(layers.coverage, 6))[..., None]
    lead = np.maximum(
        covered(nearest[..., 1] - nearest[..., 0] - 1.6), covered(np.abs(layers.distance) - 1.3)
    )
    return mixed(glass, rgb((22, 22, 30)), lead)


def _chalkboard(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    board = mixed(_paper((48, 78, 64)), rgb((96, 122, 110)), np.clip(0.25 * noise(rng, 9, 5) + 0.15, 0, 1))
    dust = 0.72 + 0.4 * rng.uniform(-1, 1, size=(SIDE, SIDE)).astype(np.float32)
    chalk = mixed(layers.main, np.ones(3, np.float32), 0.3)
    fill = 0.8 * layers.coverage * (waves(5, 50) > 0.1) * dust
    line = np.maximum(stroke(layers, 2.4), 0.6 * scenery_edges(layers)) * dust
    return mixed(mixed(board, chalk, np.clip(fill, 0, 1)), rgb((250, 250, 240)), np.clip(line, 0, 1))


def _blueprint(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    inner, _ = _cells(8)
    grid = covered(3.4 - np.maximum(np.abs(inner.x), np.abs(inner.y)))
    page = mixed(_paper((30, 72, 150)), rgb((120, 160, 220)), 0.4 * grid)
    axes = covered(np.minimum(np.abs(layers.plane.x), np.abs(layers.plane.y)) * layers.radius - 0.2)
    page = mixed(page, rgb((170, 200, 240)), 0.45 * axes * (waves(6, 45) > -0.2))
    line = np.maximum(stroke(layers, 1.4), 0.5 * scenery_edges(layers))
    page = mixed(page, layers.main, 0.35 * layers.coverage)
    return mixed(page, rgb((240, 248, 255)), line)


def _crayon(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    streaks = 0.5 * noise(rng, 64, 10) + 0.5 * rng.uniform(-1, 1, size=(SIDE, SIDE)).astype(np.float32)
    streaks = displaced(streaks, 0.7 * pixels().x, np.zeros((SIDE, SIDE), np.float32))
    wax = np.clip(0.62 + 0.55 * streaks, 0, 1)
    wobble = layers.distance + 1.3 * noise(rng, 14, 14)
    page = mixed(_paper((253, 251, 246)), vivid(layers.background, 1.2), 0.75 * wax)
    page = mixed(page, vivid(layers.colors, 1.2), covered(wobble) * np.clip(wax + 0.2, 0, 1))
    return mixed(page, layers.deep, 0.6 * covered(np.abs(wobble) - 0.9) * wax)


def _cross_stitch(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    inner, cells = _cells(5.0)
    thread = covered(np.minimum(np.abs(inner.x - inner.y), np.abs(inner.x + inner.y)) - 1.0, 1.2)
    over = covered(np.abs(inner.x + inner.y) - 0.9)
    yarn = vivid(tiled(layers.flat(), cells), 1.2) * (0.82 + 0.24 * over)[..., None]
    return mixed(_paper((226, 212, 190)), yarn, thread * (np.abs(inner.x) < 2.3))


def _paper_cutout(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    sheet = np.rint(luminance(blurred(layers.background, 1.5)) * 4) / 4
    ground = mixed(tiled(layers.background, (sheet * 4).astype(np.intp)), rgb((255, 252, 244)), 0.2)
    ground = ground * (1 - 0.5 * blurred(moved(layers.coverage, 3, 4), 1.2))[..., None]
    lifted = np.clip(layers.lines, 0, 2) / 2
    return mixed(
        ground, layers.colors * (0.82 + 0.18 * lifted)[..., None], covered(layers.distance + 0.5, 0.4)
    )


def _low_poly(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    x = (pixels().x + 3.2 * noise(rng, 9, 9)) / 9 + 8
    y = (pixels().y + 3.2 * noise(rng, 9, 9)) / 9 + 8
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    half = (x - column) > (y - row)
    facets = ((row * 32 + column) * 2 + half) * 2 + (layers.distance < 0)
    return np.asarray(tiled(layers.flat(), facets) * (0.84 + 0.32 * ((facets * 29) % 17) / 16)[..., None])


def _glitch(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    scene = shade(layers, 1.0)
    shift = np.repeat(rng.integers(-7, 8, size=16) * (rng.random(16) < 0.4), 4).astype(np.float32)
    right = np.broadcast_to(shift[:, None], (SIDE, SIDE))
    still = np.zeros((SIDE, SIDE), np.float32)
    split = [displaced(scene[..., c], still, right + off) for c, off in enumerate((-3, 0, 3))]
    return np.asarray(np.stack(split, -1) * (0.86 + 0.14 * (np.arange(SIDE) % 2))[:, None, None])


def _ripple(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    phase = pixels().y / 9 + rng.uniform(0, 1)
    swing = np.sin(2 * np.pi * phase).astype(np.float32)
    scene = displaced(shade(layers, 1.0), 0.8 * np.cos(2 * np.pi * phase), 2.8 * swing)
    return mixed(scene, np.ones(3, np.float32), np.clip(0.3 * swing - 0.08, 0, 1))


def _sticker(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    table = blurred(layers.background, 1.0) * np.float32(0.85) + np.float32(0.08)
    edge = covered(layers.distance - 4.5)
    table = table * (1 - 0.55 * blurred(moved(edge, 2, 1), 1.5))[..., None]
    page = mixed(table, np.ones(3, np.float32), edge)
    shine = np.clip(0.5 - np.abs(layers.plane.x + layers.plane.y + 0.7) * 4, 0, 0.4)
    return mixed(page, mixed(layers.colors, np.ones(3, np.float32), shine), layers.coverage)


def _clay(layers: Layers, rng: np.random.Generator) -> np.ndarray:
    dome = np.sqrt(np.clip(-layers.distance, 0, 9) / 9) + 0.35 * np.sqrt(np.clip(layers.lines, 0, 3) / 3)
    height = blurred(dome / 1.4, 1.2) + 0.012 * noise(rng, 20, 20)
    slope = (moved(height, 1, 1) - moved(height, -1, -1)) * np.float32(-1.5)
    ground = mixed(blurred(layers.background, 2), rgb((206, 176, 156)), 0.45)
    body = mixed(
        mixed(ground, layers.main, covered(layers.distance, 2)), layers.colors, 0.55 * layers.coverage
    )
    return np.asarray(np.clip(body + slope[..., None] + 0.03 * noise(rng, 12, 12)[..., None], 0, 1))


def _toned(dark: Rgb, bright: Rgb, gamma: float, chroma: float) -> Style:
    """Return a palette: luminance on a ramp from dark to bright, with a share of the colors."""

    def apply(layers: Layers, rng: np.random.Generator) -> np.ndarray:
        scene = shade(layers, 1.0)
        grey = np.clip(luminance(scene), 0, 1)
        ramp = mixed(np.broadcast_to(rgb(dark), scene.shape), rgb(bright), grey**gamma)
        return np.asarray(ramp + np.float32(chroma) * (scene - grey[..., None]))

    return apply


STYLES: dict[str, Style] = {
    "plain": _plain,
    "watercolour": _watercolour,
    "ink sketch": _ink_sketch,
    "pixel art": _pixel_art,
    "halftone": _halftone,
    "neon": _neon,
    "mosaic": _mosaic,
    "woodcut": _woodcut,
    "stained glass": _stained_glass,
    "chalkboard": _chalkboard,
    "blueprint": _blueprint,
    "crayon": _crayon,
    "cross stitch": _cross_stitch,
    "paper cutout": _paper_cutout,
    "low poly": _low_poly,
    "glitch": _glitch,
    "ripple": _ripple,
    "sticker": _sticker,
    "clay": _clay,
    "pastel": _toned((186, 180, 204), (255, 250, 250), 1.0, 0.5),
    "negative": _toned((255, 255, 255), (0, 0, 0), 1.0, -1.0),
    "moonlight": _toned((8, 10, 40), (150, 180, 226), 1.25, 0.5),
    "golden": _toned((70, 26, 4), (255, 222, 120), 0.85, 0.45),
}
"""style or palette -> its function"""
