"""The world's backgrounds and drawing styles.

A style turns the background (RGB), the object's layer (RGBA), both 256x256, and the object's
colour into a drawing of 64x64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from playground.shapes import Colour, mix

SIZE = 64  # pixels of a drawing
CANVAS = 256  # pixels of the canvas it is painted on


def paint_background(name: str, rng: np.random.Generator) -> Image.Image:
    """Paint a background of the given name, 256x256 RGB."""
    image = Image.new("RGB", (CANVAS, CANVAS), (250, 250, 250))
    pen = ImageDraw.Draw(image)
    if name == "night sky":
        _gradient(image, (12, 14, 50), (35, 40, 95))
        for x, y in rng.uniform(4, CANVAS - 4, size=(16, 2)):
            pen.ellipse([x - 4, y - 4, x + 4, y + 4], fill=(240, 240, 200))
    elif name == "grass field":
        _gradient(image, (165, 215, 250), (215, 240, 255))
        pen.rectangle([0, 150 + rng.uniform(-8, 8), CANVAS, CANVAS], fill=(120, 200, 90))
    elif name == "sand":
        _gradient(image, (240, 222, 170), (225, 195, 130))
        for x, y in rng.uniform(0, CANVAS, size=(40, 2)):
            pen.ellipse([x - 3, y - 2, x + 3, y + 2], fill=(200, 165, 100))
    elif name == "stripes":
        for x in range(0, CANVAS, 64):
            pen.rectangle([x, 0, x + 31, CANVAS], fill=(185, 195, 205))
    elif name == "sunset":
        _gradient(image, (120, 60, 140), (255, 170, 90))
        pen.ellipse([20, 130, 110, 220], fill=(255, 235, 150))
    return image


def _gradient(image: Image.Image, top: Colour, bottom: Colour) -> None:
    share = np.linspace(0, 1, CANVAS)[:, None, None]
    rows = np.array(top) * (1 - share) + np.array(bottom) * share
    pixels = np.broadcast_to(rows, (CANVAS, CANVAS, 3)).astype(np.uint8)
    image.paste(Image.fromarray(pixels))


def shrink(image: Image.Image) -> Image.Image:
    """Shrink a canvas to a drawing of 64x64 RGB."""
    return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)


def _flatten(background: Image.Image, layer: Image.Image) -> Image.Image:
    image = background.copy()
    image.paste(layer, mask=layer.getchannel("A"))
    return image


def _contours(image: Image.Image, width: int) -> Image.Image:
    """Return a mask (L) of the lines where the picture changes, `width` canvas pixels wide."""
    pixels = np.asarray(image.convert("RGB"), np.int16)
    edge = np.zeros((CANVAS, CANVAS), bool)
    edge[:, 1:] |= np.abs(np.diff(pixels, axis=1)).sum(-1) > 120
    edge[1:] |= np.abs(np.diff(pixels, axis=0)).sum(-1) > 120
    mask = Image.fromarray(edge.astype(np.uint8) * 255)
    return mask.filter(ImageFilter.MaxFilter(width))


@functools.cache
def _grid() -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column of each canvas pixel, as shares of the canvas."""
    yy, xx = np.mgrid[0:CANVAS, 0:CANVAS] / CANVAS
    return yy, xx


@functools.cache
def _paper_relief() -> tuple[np.ndarray, np.ndarray]:
    """Return a watercolour page's blotches (H, W, 1; grey levels) and its bare edge (0..1)."""
    yy, xx = _grid()
    blotch = 14 * np.sin(9 * xx + 4 * np.sin(7 * yy)) + 12 * np.cos(11 * yy + 3 * np.sin(8 * xx))
    edge = np.clip((np.hypot(xx - 0.5, yy - 0.5) - 0.46) * 6, 0, 1)
    return blotch[..., None].astype(np.float32), edge[..., None].astype(np.float32)


@functools.cache
def _hatching() -> np.ndarray:
    """Return diagonal waves (H, W) in 0..1, some 16 canvas pixels apart."""
    yy, xx = _grid()
    return np.asarray((np.sin((xx + yy) * CANVAS * 2 * math.pi / 22.6) + 1) / 2, np.float32)


def _watercolour(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    paper = Image.new("RGB", (CANVAS, CANVAS), (252, 248, 240))
    wash = Image.blend(_flatten(background, layer), paper, 0.35).filter(ImageFilter.GaussianBlur(8))
    blotch, edge = _paper_relief()
    pixels = np.asarray(wash, np.float32) + blotch
    pixels = pixels * (1 - edge) + np.asarray(paper, np.float32) * edge
    return shrink(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))


def _ink_sketch(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    paper = Image.new("RGB", (CANVAS, CANVAS), (255, 255, 255))
    paper.paste(mix(colour, (255, 255, 255), 0.72), mask=layer.getchannel("A"))
    lines = _contours(_flatten(background, layer), 3)
    flat = Image.new("RGB", (CANVAS, CANVAS), (255, 255, 255))
    flat.paste(layer, mask=layer.getchannel("A"))
    lines = ImageChops.lighter(lines.point(lambda v: v // 3), _contours(flat, 5))
    paper.paste((15, 15, 20), mask=lines)
    return shrink(paper)


def _pixel_art(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    flat = _flatten(background, layer)
    small = flat.resize((16, 16), Image.Resampling.BOX)
    small = small.point(lambda v: min(255, round(v / 64) * 64))
    return small.resize((SIZE, SIZE), Image.Resampling.NEAREST)


def _halftone(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    flat = np.asarray(_flatten(background, layer).resize((16, 16), Image.Resampling.BOX))
    page = Image.new("RGB", (CANVAS, CANVAS), (255, 250, 225))
    pen = ImageDraw.Draw(page)
    for row in range(16):
        for column in range(16):
            rgb = flat[row, column].astype(float)
            darkness = 1 - rgb.min() / 255
            radius = 2.0 + 7.5 * math.sqrt(darkness)
            x, y = column * 16 + 8, row * 16 + 8
            ink = tuple(int(v) for v in np.clip((rgb - 255 * 0.35) / 0.65, 0, 255))
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=ink)
    return shrink(page)


def _neon(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    bright = mix(colour, (255, 255, 255), 0.15)
    scale = 255 / max(bright)
    glow_colour: Colour = tuple(min(255, round(c * scale)) for c in bright)  # type: ignore[assignment]
    flat = Image.new("RGB", (CANVAS, CANVAS), (255, 255, 255))
    flat.paste(layer, mask=layer.getchannel("A"))
    lines = _contours(flat, 5)
    dim = background.point(lambda v: v // 7)
    halo = lines.filter(ImageFilter.GaussianBlur(10)).point(lambda v: min(255, round(v * 1.1)))
    tube = Image.new("RGB", (CANVAS, CANVAS), glow_colour)
    page = Image.composite(tube, dim, halo)
    page.paste(mix(glow_colour, (255, 255, 255), 0.45), mask=lines)
    return shrink(page)


@functools.cache
def _tiles() -> tuple[np.ndarray, np.ndarray]:
    """Return the hexagonal tile number of each pixel of half a canvas and which are grout."""
    side = CANVAS // 2
    step = side / 11
    yy, xx = np.mgrid[0:side, 0:side]
    centres = [
        ((column + 0.5 * (row % 2)) * step, row * step * 0.9) for row in range(14) for column in range(12)
    ]
    distance = np.stack([np.hypot(xx - x, yy - y) for x, y in centres])
    nearest = np.sort(distance, axis=0)[:2]
    return distance.argmin(0), (nearest[1] - nearest[0]) < 1.6


def _mosaic(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    labels, grout = _tiles()
    flat = _flatten(background, layer).resize(labels.shape, Image.Resampling.BOX)
    pixels, numbers = np.asarray(flat, np.float32), labels.ravel()
    counts = np.maximum(np.bincount(numbers), 1)
    means = [np.bincount(numbers, pixels[..., c].ravel()) / counts for c in range(3)]
    page = np.stack(means, -1)[labels]
    page[grout] = (45, 40, 40)
    return shrink(Image.fromarray(page.astype(np.uint8)))


def _woodcut(background: Image.Image, layer: Image.Image, colour: Colour) -> Image.Image:
    grey = np.asarray(_flatten(background, layer).convert("L"), np.float32) / 255
    paper = Image.new("RGB", (CANVAS, CANVAS), (238, 214, 170))
    paper.paste(mix(colour, (238, 214, 170), 0.35), mask=layer.getchannel("A"))
    cut = (_hatching() > 0.25 + 0.75 * grey).astype(np.uint8) * 255
    lines = ImageChops.lighter(Image.fromarray(cut), _contours(_flatten(background, layer), 5))
    paper.paste((30, 18, 12), mask=lines)
    return shrink(paper)


FILTERS: dict[str, Callable[[Image.Image, Image.Image, Colour], Image.Image]] = {
    "watercolour": _watercolour,
    "ink sketch": _ink_sketch,
    "pixel art": _pixel_art,
    "halftone": _halftone,
    "neon": _neon,
    "mosaic": _mosaic,
    "woodcut": _woodcut,
}
