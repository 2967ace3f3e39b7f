"""Building blocks of styles: noise, blur, means of tiles, displacement, light. Pixels are (64, 64, 3) in 0..1."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from playground.sdf.layers import SIDE, Layers, covered, mixed, pixels
from playground.sdf.shapes import Field

GREY = np.array((0.3, 0.59, 0.11), np.float32)


def noise(rng: np.random.Generator, rows: int, columns: int) -> Field:
    """Return smooth noise (64, 64) in -1..1 with so many random values per side."""
    coarse = rng.uniform(-1, 1, size=(rows, columns)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def blurred(values: np.ndarray, radius: float) -> np.ndarray:
    """Return pixels or a coverage after a Gaussian blur with a radius in pixels."""
    image = Image.fromarray((np.clip(values, 0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def moved(values: np.ndarray, down: int, right: int) -> np.ndarray:
    """Return pixels or a field moved by whole pixels; border values are repeated."""
    rows = np.clip(np.arange(SIDE) - down, 0, SIDE - 1)
    columns = np.clip(np.arange(SIDE) - right, 0, SIDE - 1)
    return np.asarray(values[rows][:, columns])


def displaced(values: np.ndarray, down: Field, right: Field) -> np.ndarray:
    """Return pixels, each taken from another place that is `down` and `right` pixels away."""
    grid = pixels()
    rows = np.clip(np.rint(grid.y + SIDE / 2 - 0.5 + down), 0, SIDE - 1).astype(np.intp)
    columns = np.clip(np.rint(grid.x + SIDE / 2 - 0.5 + right), 0, SIDE - 1).astype(np.intp)
    return np.asarray(values[rows, columns])


def tiled(values: np.ndarray, tiles: np.ndarray) -> np.ndarray:
    """Return pixels with the mean color of each tile; `tiles` (64, 64) are numbers from 0."""
    numbers = tiles.ravel()
    counts = np.maximum(np.bincount(numbers), 1)
    means = [np.bincount(numbers, values[..., c].ravel()) / counts for c in range(3)]
    return np.asarray(np.stack(means, -1).astype(np.float32)[tiles])


def luminance(values: np.ndarray) -> Field:
    """Return the luminance (64, 64) of pixels."""
    return np.asarray(values @ GREY)


def vivid(values: np.ndarray, factor: float) -> np.ndarray:
    """Return pixels whose difference from grey is multiplied."""
    grey = luminance(values)[..., None]
    return np.asarray(grey + (values - grey) * np.float32(factor))


def waves(period: float, degrees: float, phase: Field | float = 0.0) -> Field:
    """Return sine waves (64, 64) in -1..1 with a period in pixels, in a direction, displaced by `phase` turns."""
    turned = pixels().turned(degrees).x
    return np.asarray(np.sin(2 * np.pi * (turned / np.float32(period) + phase)), np.float32)


def stroke(layers: Layers, width: float) -> Field:
    """Return the coverage (64, 64) of lines along the visible edges of the object's parts."""
    return covered(layers.lines - width / 2)


def shade(layers: Layers, strength: float) -> np.ndarray:
    """Return the drawing with a soft shadow below its object, which is lighter at the upper left."""
    shadow = blurred(moved(layers.coverage, 4, 3), 2.2)
    ground = layers.background * (1 - 0.38 * strength * shadow)[..., None]
    light = 1 - 0.16 * strength * (0.55 * layers.plane.x + 0.85 * layers.plane.y)
    return mixed(ground, layers.colors * np.clip(light, 0.7, 1.2)[..., None], layers.coverage)


def scenery_edges(layers: Layers) -> Field:
    """Return the strength (64, 64) of the edges in the background, outside the object."""
    grey = luminance(layers.background)
    steps = np.abs(grey - moved(grey, 0, 1)) + np.abs(grey - moved(grey, 1, 0))
    return np.asarray(np.clip(7 * steps - 0.35, 0, 1) * (layers.distance > 2), np.float32)
