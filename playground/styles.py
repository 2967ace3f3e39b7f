"""The drawn world's styles.

A style maps the background (RGB) and the object's layer (RGBA), both 256x256, and the object's colour to a drawing of
64x64. Most styles compute on half a canvas (128x128) of floats in 0..1, with lengths in pixels of the drawing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from PIL import Image

from playground import palettes
from playground.backgrounds import SIZE
from playground.pen import Colour
from playground.textures import (
    GREY,
    SIDE,
    blurred,
    contours,
    coordinates,
    cover,
    even_out,
    flatten,
    floats,
    from_border,
    grown,
    ink,
    lay,
    shifted,
    tiling,
    to_drawing,
    to_image,
    triangulation,
    waves,
)

Style = Callable[[Image.Image, Image.Image, Colour], Image.Image]


def shrink(image: Image.Image) -> Image.Image:
    """Return a canvas shrunk to a drawing of 64x64 RGB."""
    return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)


def _watercolour(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    paper = ink(253, 249, 242)
    blotches = 0.12 * (waves(0.02, 0.06, 0.25) - 0.5) + 0.1 * (waves(0.06, -0.03, 0.3) - 0.5)
    wash = blurred(lay(flatten(background, layer), paper, 0.38), 2.2) + blotches
    return to_drawing(lay(wash, paper, np.clip(1.9 - from_border(1.3) / 3, 0, 1)))


def _ink_sketch(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    pixels, mask = flatten(background, layer), cover(layer)
    wash = lay(ink(*colour), ink(255, 255, 255), 0.25)
    page = lay(lay(floats(background), ink(255, 255, 255), 0.6), wash, shifted(mask, 2, 2))
    dark = np.clip((0.62 - pixels @ GREY) * 4, 0, 1)[..., None]
    hatching = np.clip(waves(0.12, 0.12) * 5 - 3.2, 0, 1) * dark
    lines = np.maximum(contours(mask, 2), 0.5 * contours(pixels, 1))
    return to_drawing(lay(page, ink(12, 12, 18), np.maximum(lines, 0.85 * hatching)))


def _pixel_art(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    flat = background.copy()
    flat.paste(layer, mask=layer.getchannel("A"))
    blocks = np.asarray(flat.reduce(16), np.float32) / 255
    solid = np.asarray(layer.getchannel("A").reduce(16), np.float32)[..., None] > 110
    rim = np.zeros_like(solid)
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        rim |= np.roll(solid, step, axis) & ~solid
    board = np.indices(solid.shape[:2]).sum(0)[..., None] % 2 * 0.24 - 0.12
    blocks = np.round(blocks * 6) / 6 + np.where(solid, 0, board)
    blocks = lay(blocks, ink(20, 16, 32), 0.8 * rim)
    return to_image(blocks.repeat(4, 0).repeat(4, 1))


def _halftone(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    mask, paper = cover(layer), ink(255, 248, 214)
    wave = (waves(0.085, 0.085) + waves(0.085, -0.085)) / 2
    scene = np.clip(floats(background) * 1.1 - 0.1, 0, 1)
    darkness = 1 - np.minimum(np.minimum(scene[..., :1], scene[..., 1:2]), scene[..., 2:])
    dots = np.clip((wave - 0.78 + 0.5 * np.sqrt(darkness)) * 8, 0, 1)
    page = lay(paper, scene * 0.92, dots)
    holes = np.clip((wave - 0.7) * 8, 0, 1)
    return to_drawing(lay(page, lay(flatten(background, layer), paper, holes), mask))


def _neon(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    mask, light = cover(layer), ink(*colour)
    lines = contours(flatten(background, layer) * mask + mask, 1)
    page = lay(floats(background) * 0.33, light * 0.2, mask)
    page = page + light * 1.2 * blurred(lines, 3)
    return to_drawing(lay(page, lay(light * 1.15, ink(255, 255, 255), 0.2), lines))


def _mosaic(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    tiles, gaps = tiling(9, 8, 0.08, 1.5)
    mask = cover(layer)
    page = even_out(flatten(background, layer), tiles, mask, 0.11) * 0.92
    return to_drawing(lay(page, ink(236, 230, 220), np.maximum(gaps, contours(mask, 0))))


def _woodcut(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    pixels, mask = flatten(background, layer), cover(layer)
    grey = np.maximum((pixels @ GREY)[..., None], 0.36 * mask)
    page = lay(lay(ink(240, 212, 160), floats(background), 0.35), ink(*colour), 0.8 * mask)
    cuts = np.clip((waves(0.16, 0.03, 0.3) - 0.3 - 0.6 * grey) * 5, 0, 1)
    return to_drawing(lay(page, ink(34, 18, 10), np.maximum(cuts, contours(mask, 2))))


def _stained_glass(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    pixels, mask = flatten(background, layer), cover(layer)
    tiles, leads = tiling(5, 5, 0.22, 2.2)
    light = 1 + 0.3 * np.sin(2.4 * tiles**1.3)[..., None]
    grey = (pixels @ GREY)[..., None]
    glass = (grey + (pixels - grey) * 1.5) * light * 0.95
    return to_drawing(lay(glass, ink(14, 14, 18), np.maximum(leads * (1 - 0.55 * mask), contours(mask, 2))))


def _chalkboard(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    mask, board = cover(layer), ink(44, 66, 58)
    chalk = lay(lay(flatten(background, layer), ink(*colour), 0.5), ink(255, 255, 255), 0.05)
    strokes = 0.3 + 0.7 * np.clip(waves(0.12, 0.1, 0.15) * 4 - 1.2, 0, 1)
    page = lay(lay(board, floats(background), 0.48), chalk, strokes * mask)
    page = lay(page, ink(250, 250, 240), contours(mask, 2))
    return to_drawing(np.where(from_border() < 4, ink(158, 106, 58), page))


def _blueprint(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    pixels, mask, paper = flatten(background, layer), cover(layer), ink(22, 62, 168)
    page = lay(lay(paper, floats(background), 0.32), lay(pixels, ink(*colour), 0.5), 0.7 * mask)
    squares = np.clip(np.maximum(waves(0.125, 0), waves(0, 0.125)) * 8 - 6.6, 0, 1)
    lines = np.maximum(contours(mask, 2), 0.3 * contours(pixels, 0))
    return to_drawing(lay(page, ink(232, 242, 255), np.maximum(lines, 0.45 * squares * (1 - 0.6 * mask))))


def _crayon(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    mask, paper = cover(layer), ink(255, 253, 246)
    pixels = flatten(background, layer)
    around = np.clip(waves(0.05, 0.17, 0.5) * 4 - 0.9, 0, 1)
    inside = np.clip(waves(0.15, -0.1, 0.5) * 4 - 0.6, 0, 1)
    page = lay(paper, floats(background) * 0.9, 0.85 * around * (1 - grown(mask, 3)))
    page = lay(page, lay(ink(*colour), pixels, 0.55), mask * (0.25 + 0.75 * inside))
    return to_drawing(lay(page, pixels * 0.85, contours(mask, 2) * grown(mask, 1)))


def _cross_stitch(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    yy, xx = coordinates()
    cloth = ink(226, 206, 172)
    stitches = np.maximum(waves(0.0835, 0.0835), waves(0.0835, -0.0835))
    page = lay(cloth * 0.75, flatten(background, layer), np.clip(stitches * 6 - 3.4, 0, 1))
    distance = np.hypot(yy - SIZE / 2, xx - SIZE / 2)
    page = np.where(distance > 30, cloth, page)
    return to_drawing(np.where(np.abs(distance - 30.5) < 1.5, ink(150, 96, 44), page))


def _paper_cutout(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    mask, frame = cover(layer), (from_border(0.8) < 4.5).astype(np.float32)
    scene = np.round(blurred(floats(background), 0.5) * 6) / 6 * 0.92
    shade = np.maximum(shifted(grown(mask, 1), 4, 4), shifted(frame, 3, 3))
    page = scene * (1 - 0.62 * blurred(shade, 0.7))
    shape = lay(flatten(background, layer), ink(*colour), 0.65)
    return to_drawing(lay(lay(page, shape, mask), ink(246, 240, 226), frame))


def _low_poly(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    return to_drawing(even_out(flatten(background, layer), triangulation(), cover(layer), 0.26))


def _glitch(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    pixels = flatten(background, layer)
    for top, bottom, right in ((10, 18, 7), (26, 33, -7), (42, 50, 8), (56, 60, -9)):
        pixels[2 * top : 2 * bottom] = np.roll(pixels[2 * top : 2 * bottom], 2 * right, 1)
    pixels[..., 0] = shifted(pixels[..., 0], 0, -3)
    pixels[..., 2] = shifted(pixels[..., 2], 0, 3)
    return to_drawing(pixels * (0.72 + 0.28 * (waves(0.167, 0) > 0.4)))


@functools.cache
def _rings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the source row and column (H, W) of each pixel under rings on water, and the rings' brightness."""
    yy, xx = coordinates()
    down, right = yy - SIZE / 2, xx - SIZE / 2
    distance = np.hypot(down, right)
    phase = 2 * np.pi * distance / 12.5
    push = 1.9 * np.sin(phase) / np.maximum(distance, 1)
    rows, columns = (np.clip(2 * (a + push * b), 0, SIDE - 1) for a, b in ((yy, down), (xx, right)))
    return rows[..., 0].astype(int), columns[..., 0].astype(int), 0.3 * np.cos(phase)


def _ripple(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    rows, columns, light = _rings()
    return to_drawing(flatten(background, layer)[rows, columns] * (0.92 + light))


def _sticker(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    mask = cover(layer)
    scene = lay(blurred(floats(background), 1.5), ink(205, 205, 210), 0.3)
    edge = grown(blurred(grown(mask, 5), 0.8) > 0.5, 1).astype(np.float32)
    page = lay(scene * (1 - 0.5 * blurred(shifted(edge, 2, 2), 1.2)), ink(255, 255, 255), edge)
    yy, xx = coordinates()
    gloss = 0.5 * mask * (np.abs(xx + yy - 52) < 5)
    return to_drawing(lay(lay(page, flatten(background, layer), mask), ink(255, 255, 255), gloss))


def _clay(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    mask = cover(layer)
    shape = lay(blurred(flatten(background, layer), 0.8), ink(*colour), 0.45)
    height = blurred(grown(mask, 1), 2.8)
    light = shifted(height, 1.5, 1.5) - shifted(height, -1.5, -1.5)
    dents = 0.16 * (waves(0.09, 0.02, 0.2) * waves(0.02, 0.09, 0.2) - 0.3)
    scene = lay(blurred(floats(background), 1.5), ink(190, 150, 130), 0.25) * (1 + 0.8 * light) + dents
    return to_drawing(lay(scene, shape * 1.02 - 1.3 * light, blurred(mask, 0.6)))


def _recolour(palette: palettes.Palette) -> Style:
    def apply(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
        return to_drawing(palette.recolour(flatten(background, layer)))

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
