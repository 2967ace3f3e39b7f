"""The drawn world's styles.

A style turns layers into a drawing. Most styles compute on floats in 0..1 with twice as many pixels per side as the
drawing; lengths are in 64ths of a side.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from PIL import Image

from playground import palettes
from playground.backgrounds import SIZE
from playground.textures import (
    GREY,
    Layers,
    blurred,
    contours,
    coordinates,
    even_out,
    from_border,
    grown,
    ink,
    lay,
    shifted,
    tiling,
    to_drawing,
    to_image,
    triangulation,
    unit,
    waves,
)

Style = Callable[[Layers], Image.Image]


def shrink(layers: Layers) -> Image.Image:
    """Return the plain drawing."""
    return layers.flat_canvas.resize((layers.size, layers.size), Image.Resampling.BOX)


def _watercolour(layers: Layers) -> Image.Image:
    paper, side = ink(253, 249, 242), layers.side
    blotches = 0.12 * (waves(side, 0.02, 0.06, 0.25) - 0.5) + 0.1 * (waves(side, 0.06, -0.03, 0.3) - 0.5)
    wash = blurred(lay(layers.flat, paper, 0.38), 2.2) + blotches
    return to_drawing(lay(wash, paper, np.clip(1.9 - from_border(side, 1.3) / 3, 0, 1)))


def _ink_sketch(layers: Layers) -> Image.Image:
    pixels, mask = layers.flat, layers.mask
    wash = lay(ink(*layers.colour), ink(255, 255, 255), 0.25)
    page = lay(lay(layers.scene, ink(255, 255, 255), 0.6), wash, shifted(mask, 2, 2))
    dark = np.clip((0.62 - pixels @ GREY) * 4, 0, 1)[..., None]
    hatching = np.clip(waves(layers.side, 0.12, 0.12) * 5 - 3.2, 0, 1) * dark
    lines = np.maximum(contours(mask, 2), 0.5 * contours(pixels, 1))
    return to_drawing(lay(page, ink(12, 12, 18), np.maximum(lines, 0.85 * hatching)))


def _pixel_art(layers: Layers) -> Image.Image:
    blocks = np.asarray(layers.flat_canvas.reduce(16), np.float32) / 255
    solid = np.asarray(layers.object.getchannel("A").reduce(16), np.float32)[..., None] > 110
    rim = np.zeros_like(solid)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        rim |= np.roll(solid, step, axis) & ~solid
    board = np.indices(solid.shape[:2]).sum(0)[..., None] % 2 * 0.24 - 0.12
    blocks = np.round(blocks * 6) / 6 + np.where(solid, 0, board)
    blocks = lay(blocks, ink(20, 16, 32), 0.8 * rim)
    side = layers.size // len(blocks)
    return to_image(blocks.repeat(side, 0).repeat(side, 1))


def _halftone(layers: Layers) -> Image.Image:
    mask, paper = layers.mask, ink(255, 248, 214)
    wave = (waves(layers.side, 0.085, 0.085) + waves(layers.side, 0.085, -0.085)) / 2
    scene = np.clip(layers.scene * 1.1 - 0.1, 0, 1)
    darkness = 1 - np.minimum(np.minimum(scene[..., :1], scene[..., 1:2]), scene[..., 2:])
    dots = np.clip((wave - 0.78 + 0.5 * np.sqrt(darkness)) * 8, 0, 1)
    page = lay(paper, scene * 0.92, dots)
    holes = np.clip((wave - 0.7) * 8, 0, 1)
    return to_drawing(lay(page, lay(layers.flat, paper, holes), mask))


def _neon(layers: Layers) -> Image.Image:
    mask, light = layers.mask, ink(*layers.colour)
    lines = contours(layers.flat * mask + mask, 1)
    page = lay(layers.scene * 0.33, light * 0.2, mask)
    page = page + light * 1.2 * blurred(lines, 3)
    return to_drawing(lay(page, lay(light * 1.15, ink(255, 255, 255), 0.2), lines))


def _mosaic(layers: Layers) -> Image.Image:
    tiles, gaps = tiling(layers.side, 9, 8, 0.08, 1.5)
    mask = layers.mask
    page = even_out(layers.flat, tiles, mask, 0.11) * 0.92
    return to_drawing(lay(page, ink(236, 230, 220), np.maximum(gaps, contours(mask, 0))))


def _woodcut(layers: Layers) -> Image.Image:
    pixels, mask = layers.flat, layers.mask
    grey = np.maximum((pixels @ GREY)[..., None], 0.36 * mask)
    page = lay(lay(ink(240, 212, 160), layers.scene, 0.35), ink(*layers.colour), 0.8 * mask)
    cuts = np.clip((waves(layers.side, 0.16, 0.03, 0.3) - 0.3 - 0.6 * grey) * 5, 0, 1)
    return to_drawing(lay(page, ink(34, 18, 10), np.maximum(cuts, contours(mask, 2))))


def _stained_glass(layers: Layers) -> Image.Image:
    pixels, mask = layers.flat, layers.mask
    tiles, leads = tiling(layers.side, 5, 5, 0.22, 2.2)
    light = 1 + 0.3 * np.sin(2.4 * tiles**1.3)[..., None]
    grey = (pixels @ GREY)[..., None]
    glass = (grey + (pixels - grey) * 1.5) * light * 0.95
    return to_drawing(lay(glass, ink(14, 14, 18), np.maximum(leads * (1 - 0.55 * mask), contours(mask, 2))))


def _chalkboard(layers: Layers) -> Image.Image:
    mask, board = layers.mask, ink(44, 66, 58)
    chalk = lay(lay(layers.flat, ink(*layers.colour), 0.5), ink(255, 255, 255), 0.05)
    strokes = 0.3 + 0.7 * np.clip(waves(layers.side, 0.12, 0.1, 0.15) * 4 - 1.2, 0, 1)
    page = lay(lay(board, layers.scene, 0.48), chalk, strokes * mask)
    page = lay(page, ink(250, 250, 240), contours(mask, 2))
    return to_drawing(np.where(from_border(layers.side) < 4, ink(158, 106, 58), page))


def _blueprint(layers: Layers) -> Image.Image:
    pixels, mask, paper = layers.flat, layers.mask, ink(22, 62, 168)
    page = lay(lay(paper, layers.scene, 0.32), lay(pixels, ink(*layers.colour), 0.5), 0.7 * mask)
    squares = np.clip(np.maximum(waves(layers.side, 0.125, 0), waves(layers.side, 0, 0.125)) * 8 - 6.6, 0, 1)
    lines = np.maximum(contours(mask, 2), 0.3 * contours(pixels, 0))
    return to_drawing(lay(page, ink(232, 242, 255), np.maximum(lines, 0.45 * squares * (1 - 0.6 * mask))))


def _crayon(layers: Layers) -> Image.Image:
    mask, paper = layers.mask, ink(255, 253, 246)
    pixels = layers.flat
    around = np.clip(waves(layers.side, 0.05, 0.17, 0.5) * 4 - 0.9, 0, 1)
    inside = np.clip(waves(layers.side, 0.15, -0.1, 0.5) * 4 - 0.6, 0, 1)
    page = lay(paper, layers.scene * 0.9, 0.85 * around * (1 - grown(mask, 3)))
    page = lay(page, lay(ink(*layers.colour), pixels, 0.55), mask * (0.25 + 0.75 * inside))
    return to_drawing(lay(page, pixels * 0.85, contours(mask, 2) * grown(mask, 1)))


def _cross_stitch(layers: Layers) -> Image.Image:
    yy, xx = coordinates(layers.side)
    cloth = ink(226, 206, 172)
    stitches = np.maximum(waves(layers.side, 0.0835, 0.0835), waves(layers.side, 0.0835, -0.0835))
    page = lay(cloth * 0.75, layers.flat, np.clip(stitches * 6 - 3.4, 0, 1))
    distance = np.hypot(yy - SIZE / 2, xx - SIZE / 2)
    page = np.where(distance > 30, cloth, page)
    return to_drawing(np.where(np.abs(distance - 30.5) < 1.5, ink(150, 96, 44), page))


def _paper_cutout(layers: Layers) -> Image.Image:
    mask, frame = layers.mask, (from_border(layers.side, 0.8) < 4.5).astype(np.float32)
    scene = np.round(blurred(layers.scene, 0.5) * 6) / 6 * 0.92
    shade = np.maximum(shifted(grown(mask, 1), 4, 4), shifted(frame, 3, 3))
    page = scene * (1 - 0.62 * blurred(shade, 0.7))
    shape = lay(layers.flat, ink(*layers.colour), 0.65)
    return to_drawing(lay(lay(page, shape, mask), ink(246, 240, 226), frame))


def _low_poly(layers: Layers) -> Image.Image:
    return to_drawing(even_out(layers.flat, triangulation(layers.side), layers.mask, 0.26))


def _glitch(layers: Layers) -> Image.Image:
    pixels, length = layers.flat, unit(layers.side)
    for top, bottom, right in ((10, 18, 7), (26, 33, -7), (42, 50, 8), (56, 60, -9)):
        rows = slice(length * top, length * bottom)
        pixels[rows] = np.roll(pixels[rows], length * right, 1)
    pixels[..., 0] = shifted(pixels[..., 0], 0, -3)
    pixels[..., 2] = shifted(pixels[..., 2], 0, 3)
    return to_drawing(pixels * (0.72 + 0.28 * (waves(layers.side, 0.167, 0) > 0.4)))


@functools.cache
def _rings(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the source row and column (H, W) of each pixel under rings on water, and the rings' brightness."""
    yy, xx = coordinates(side)
    down, right = yy - SIZE / 2, xx - SIZE / 2
    distance = np.hypot(down, right)
    phase = 2 * np.pi * distance / 12.5
    push = 1.9 * np.sin(phase) / np.maximum(distance, 1)
    rows, columns = (np.clip(unit(side) * (a + push * b), 0, side - 1) for a, b in ((yy, down), (xx, right)))
    return rows[..., 0].astype(int), columns[..., 0].astype(int), 0.3 * np.cos(phase)


def _ripple(layers: Layers) -> Image.Image:
    rows, columns, light = _rings(layers.side)
    return to_drawing(layers.flat[rows, columns] * (0.92 + light))


def _sticker(layers: Layers) -> Image.Image:
    mask = layers.mask
    scene = lay(blurred(layers.scene, 1.5), ink(205, 205, 210), 0.3)
    edge = grown(blurred(grown(mask, 5), 0.8) > 0.5, 1).astype(np.float32)
    page = lay(scene * (1 - 0.5 * blurred(shifted(edge, 2, 2), 1.2)), ink(255, 255, 255), edge)
    yy, xx = coordinates(layers.side)
    gloss = 0.5 * mask * (np.abs(xx + yy - 52) < 5)
    return to_drawing(lay(lay(page, layers.flat, mask), ink(255, 255, 255), gloss))


def _clay(layers: Layers) -> Image.Image:
    mask = layers.mask
    shape = lay(blurred(layers.flat, 0.8), ink(*layers.colour), 0.45)
    height = blurred(grown(mask, 1), 2.8)
    light = shifted(height, 1.5, 1.5) - shifted(height, -1.5, -1.5)
    dents = 0.16 * (waves(layers.side, 0.09, 0.02, 0.2) * waves(layers.side, 0.02, 0.09, 0.2) - 0.3)
    scene = lay(blurred(layers.scene, 1.5), ink(190, 150, 130), 0.25) * (1 + 0.8 * light) + dents
    return to_drawing(lay(scene, shape * 1.02 - 1.3 * light, blurred(mask, 0.6)))


def _recolour(palette: palettes.Palette) -> Style:
    def apply(layers: Layers) -> Image.Image:
        return to_drawing(palette.recolour(layers.flat))

    return apply


PALETTES: dict[str, Style] = {name: _recolour(palette) for name, palette in palettes.PALETTES.items()}
FILTERS: dict[str, Style] = {
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
    **PALETTES,
}
