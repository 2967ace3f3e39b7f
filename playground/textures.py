"""Building blocks of the styles: operations on pixels, masks and contours, and repeating textures.

Pixels are floats (H, W, 3) in 0..1 and masks are (H, W, 1), both with twice as many pixels per side as the drawing.
`side` is their number. Lengths are in 64ths of a side, which makes a drawing of each size the same picture.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from playground.backgrounds import CANVAS, SIZE, SIZES
from playground.pen import Colour

GREY = np.array([0.3, 0.59, 0.11], np.float32)


def ink(red: float, green: float, blue: float) -> np.ndarray:
    """Return a colour in 0..1, given in 0..255."""
    return np.array((red, green, blue), np.float32) / 255


def unit(side: int) -> int:
    """Return the number of pixels of a 64th of a side."""
    return side // SIZE


@dataclass(frozen=True, eq=False)
class Layers:
    """What a style turns into a drawing: canvases of the background (RGB) and of the object (RGBA)."""

    background: Image.Image
    object: Image.Image
    colour: Colour
    """of the object"""
    size: int
    """pixels per side of the drawing, one of SIZES"""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"{self.size} pixels per side, expected {' or '.join(map(str, SIZES))}")

    @property
    def side(self) -> int:
        """Pixels per side of what styles compute on."""
        return 2 * self.size

    @property
    def scene(self) -> np.ndarray:
        """The pixels of the background."""
        return self._floats(self.background)

    @property
    def mask(self) -> np.ndarray:
        """The mask of the object."""
        return self._floats(self.object.getchannel("A"))[..., None]

    @property
    def flat(self) -> np.ndarray:
        """The pixels of the background with the object on top."""
        return self._floats(self.flat_canvas)

    @property
    def flat_canvas(self) -> Image.Image:
        """The canvas of the background with the object on top."""
        canvas = self.background.copy()
        canvas.paste(self.object, mask=self.object.getchannel("A"))
        return canvas

    def _floats(self, canvas: Image.Image) -> np.ndarray:
        return np.asarray(canvas.reduce(CANVAS // self.side), np.float32) / 255


def to_image(pixels: np.ndarray) -> Image.Image:
    """Return pixels as an image of the same size."""
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def to_drawing(pixels: np.ndarray) -> Image.Image:
    """Return pixels as a drawing, of half as many pixels per side."""
    return to_image(pixels).reduce(2)


def lay(under: np.ndarray, over: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Return `under` blended with a share (0..1) of `over`."""
    return np.asarray(under + (over - under) * share)


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    """Return pixels or a mask after a Gaussian blur."""
    image = to_image(pixels.squeeze()).filter(ImageFilter.GaussianBlur(unit(len(pixels)) * radius))
    return (np.asarray(image, np.float32) / 255).reshape(pixels.shape)


def shifted(pixels: np.ndarray, down: float, right: float) -> np.ndarray:
    """Return pixels or a mask shifted down and right; border pixels are repeated."""
    side = len(pixels)
    rows, columns = (np.clip(np.arange(side) - round(unit(side) * a), 0, side - 1) for a in (down, right))
    return np.asarray(pixels[rows][:, columns])


def grown(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return a mask dilated by `reach` 128ths of a side."""
    return _dilated(mask, reach * unit(len(mask)) // 2)


def _dilated(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return a mask dilated by `reach` pixels."""
    for axis in (0, 1):
        wide = mask.swapaxes(0, axis).copy()
        for step in range(1, reach + 1):
            narrow = mask.swapaxes(0, axis)
            wide[step:] = np.maximum(wide[step:], narrow[:-step])
            wide[:-step] = np.maximum(wide[:-step], narrow[step:])
        mask = wide.swapaxes(0, axis)
    return mask


def contours(pixels: np.ndarray, reach: int) -> np.ndarray:
    """Return the mask of the edges in pixels (H, W, C), a 128th of a side wide, dilated by `reach` of these."""
    edge, ones = np.zeros((*pixels.shape[:2], 1), np.float32), np.ones(pixels.shape[-1], np.float32)
    width = unit(len(pixels)) // 2
    edge[:, 1:, 0] = np.abs(np.diff(pixels, axis=1)) @ ones > 0.3
    edge[1:, :, 0] += np.abs(np.diff(pixels, axis=0)) @ ones > 0.3
    return _dilated(np.minimum(edge, 1), reach * width + width - 1)


@functools.cache
def coordinates(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column (H, W, 1) of each pixel's center."""
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / unit(side) + 0.5 / unit(side)
    return rows[..., None], columns[..., None]


@functools.cache
def waves(side: int, down: float, right: float, bend: float = 0.0) -> np.ndarray:
    """Return sine waves (H, W, 1) in 0..1 with `down` and `right` periods per length, bent by `bend` periods."""
    yy, xx = coordinates(side)
    turns = yy * down + xx * right + bend * np.sin((xx + yy) / 6)
    return np.asarray((np.sin(2 * np.pi * turns) + 1) / 2)


@functools.cache
def from_border(side: int, wobble: float = 0.0) -> np.ndarray:
    """Return each pixel's distance (H, W, 1) from the nearest border, plus a smooth distortion."""
    yy, xx = coordinates(side)
    distance = SIZE / 2 - np.maximum(np.abs(xx - SIZE / 2), np.abs(yy - SIZE / 2))
    return np.asarray(distance + wobble * (np.sin(yy / 3.1) + np.cos(xx / 2.7)))


@functools.cache
def lattice(rows: int, columns: int, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of points on a staggered lattice with deterministic jitter."""
    i, j = (a.ravel() for a in np.mgrid[0 : rows + 2, 0 : columns + 2])
    yy = (i - 0.5 + jitter * np.sin(12.9 * i + 78.2 * j)) * SIZE / rows
    xx = (j - 0.5 + 0.5 * (i % 2) + jitter * np.cos(39.3 * i + 11.1 * j)) * SIZE / columns
    return yy, xx


@functools.cache
def tiling(side: int, rows: int, columns: int, jitter: float, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the index (H, W) of each pixel's nearest lattice point, and a mask of the gaps between tiles."""
    yy, xx = coordinates(side)
    distance = np.hypot(*(a - b for a, b in zip((yy, xx), lattice(rows, columns, jitter), strict=True)))
    nearest = np.sort(distance, axis=-1)[..., :2]
    gaps = np.clip(gap - (nearest[..., 1:] - nearest[..., :1]) + 0.5, 0, 1)
    return distance.argmin(-1), gaps.astype(np.float32)


@functools.cache
def triangulation(side: int) -> np.ndarray:
    """Return the index (H, W) of each pixel's triangle; the triangles are halves of distorted squares."""
    yy, xx = coordinates(side)
    yy, xx = (yy + 1.6 * np.sin(xx / 5.5)) / 8, (xx + 1.8 * np.sin(yy / 6.3)) / 8
    row, column = np.floor(yy + 1).astype(int), np.floor(xx + 1).astype(int)
    down, right = yy + 1 - row, xx + 1 - column
    upper = np.where((row + column) % 2 == 0, down < right, down + right < 1)
    return np.asarray((row * 12 + column) * 2 + upper)[..., 0]


def even_out(pixels: np.ndarray, tiles: np.ndarray, mask: np.ndarray, contrast: float) -> np.ndarray:
    """Return pixels with one colour per tile, varied by `contrast`; tiles are cut along the mask's contour."""
    tiles = 2 * tiles + (mask[..., 0] > 0.5)
    numbers = tiles.ravel()
    counts = np.maximum(np.bincount(numbers), 1)
    means = np.stack([np.bincount(numbers, pixels[..., c].ravel()) / counts for c in range(3)], -1)
    light = 1 + contrast * np.sin(2.4 * np.arange(len(counts)) ** 1.3)[:, None]
    return np.asarray((means * light)[tiles], np.float32)
