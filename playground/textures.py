"""Building blocks of the styles: operations on pixels, masks and contours, and repeating textures.

Pixels are floats (H, W, 3) in 0..1 and masks are (H, W, 1), both of half a canvas (SIDE x SIDE). Lengths are in pixels
of the drawing, unless stated otherwise.
"""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageFilter

from playground.backgrounds import SIZE

SIDE = 2 * SIZE  # half a canvas
GREY = np.array([0.3, 0.59, 0.11], np.float32)


def ink(red: float, green: float, blue: float) -> np.ndarray:
    """Return a colour in 0..1, given in 0..255."""
    return np.array((red, green, blue), np.float32) / 255


def floats(image: Image.Image) -> np.ndarray:
    """Return a canvas as pixels."""
    return np.asarray(image.reduce(2), np.float32) / 255


def flatten(background: Image.Image, layer: Image.Image) -> np.ndarray:
    """Return the pixels of the background with the object's layer on top."""
    flat = background.copy()
    flat.paste(layer, mask=layer.getchannel("A"))
    return floats(flat)


def cover(layer: Image.Image) -> np.ndarray:
    """Return the mask of the object."""
    return floats(layer.getchannel("A"))[..., None]


def to_image(pixels: np.ndarray) -> Image.Image:
    """Return pixels as an image of the same size."""
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def to_drawing(pixels: np.ndarray) -> Image.Image:
    """Return pixels as a drawing of 64x64."""
    return to_image(pixels).reduce(2)


def lay(under: np.ndarray, over: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Return `under` blended with a share (0..1) of `over`."""
    return np.asarray(under + (over - under) * share)


def blurred(pixels: np.ndarray, radius: float) -> np.ndarray:
    """Return pixels or a mask after a Gaussian blur."""
    image = to_image(pixels.squeeze()).filter(ImageFilter.GaussianBlur(2 * radius))
    return (np.asarray(image, np.float32) / 255).reshape(pixels.shape)


def shifted(pixels: np.ndarray, down: float, right: float) -> np.ndarray:
    """Return pixels or a mask shifted down and right; border pixels are repeated."""
    rows, columns = (np.clip(np.arange(SIDE) - round(2 * a), 0, SIDE - 1) for a in (down, right))
    return np.asarray(pixels[rows][:, columns])


def grown(mask: np.ndarray, reach: int) -> np.ndarray:
    """Return a mask dilated by `reach` half pixels of the drawing."""
    for axis in (0, 1):
        wide = mask.swapaxes(0, axis).copy()
        for step in range(1, reach + 1):
            narrow = mask.swapaxes(0, axis)
            wide[step:] = np.maximum(wide[step:], narrow[:-step])
            wide[:-step] = np.maximum(wide[:-step], narrow[step:])
        mask = wide.swapaxes(0, axis)
    return mask


def contours(pixels: np.ndarray, reach: int) -> np.ndarray:
    """Return the mask of the edges in pixels (H, W, C), dilated by `reach` half pixels of the drawing."""
    edge, ones = np.zeros((SIDE, SIDE, 1), np.float32), np.ones(pixels.shape[-1], np.float32)
    edge[:, 1:, 0] = np.abs(np.diff(pixels, axis=1)) @ ones > 0.3
    edge[1:, :, 0] += np.abs(np.diff(pixels, axis=0)) @ ones > 0.3
    return grown(np.minimum(edge, 1), reach)


@functools.cache
def coordinates() -> tuple[np.ndarray, np.ndarray]:
    """Return the row and the column (H, W, 1) of each pixel, in pixels of the drawing."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / 2 + 0.25
    return rows[..., None], columns[..., None]


@functools.cache
def waves(down: float, right: float, bend: float = 0.0) -> np.ndarray:
    """Return sine waves (H, W, 1) in 0..1 with `down` and `right` periods per pixel, bent by `bend` periods."""
    yy, xx = coordinates()
    turns = yy * down + xx * right + bend * np.sin((xx + yy) / 6)
    return np.asarray((np.sin(2 * np.pi * turns) + 1) / 2)


@functools.cache
def from_border(wobble: float = 0.0) -> np.ndarray:
    """Return each pixel's distance (H, W, 1) from the nearest border, plus a smooth distortion."""
    yy, xx = coordinates()
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
def tiling(rows: int, columns: int, jitter: float, gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the index (H, W) of each pixel's nearest lattice point, and a mask of the gaps between tiles."""
    yy, xx = coordinates()
    distance = np.hypot(*(a - b for a, b in zip((yy, xx), lattice(rows, columns, jitter), strict=True)))
    nearest = np.sort(distance, axis=-1)[..., :2]
    gaps = np.clip(gap - (nearest[..., 1:] - nearest[..., :1]) + 0.5, 0, 1)
    return distance.argmin(-1), gaps.astype(np.float32)


@functools.cache
def triangulation() -> np.ndarray:
    """Return the index (H, W) of each pixel's triangle; the triangles are halves of distorted squares."""
    yy, xx = coordinates()
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
