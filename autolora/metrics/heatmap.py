"""A similarity matrix as a picture: items in groups, lines between the groups."""

import io
from collections.abc import Sequence
from itertools import groupby

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

INK = "#8a8f98"  # readable on white and on black
DPI = 160
INCHES = 6.4
COLOURS = "magma"
LARGEST_PT = 9.0
SMALLEST_PT = 4.0
LINE_HEIGHT = 1.25
LEVELS = 255
"""a cell is one of the levels 0 to 255 between the lowest and the highest cosine"""


def draw_heatmap(matrix: NDArray[np.float64], groups: Sequence[str]) -> bytes:
    """Return a transparent PNG of a symmetric matrix (N, N) whose items are ordered by `groups` (N,).

    The diagonal is left out of the colour range: it is 1 by definition and would flatten the rest.
    """
    figure = Figure(figsize=(INCHES, INCHES), dpi=DPI, facecolor="none", layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    low, high = colour_range(matrix)
    image = axes.imshow(matrix, vmin=low, vmax=high, cmap=COLOURS, interpolation="nearest")
    bounds = runs(groups)
    for start, _, _ in bounds[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=0.8)
        axes.axvline(start - 0.5, color="white", linewidth=0.8)
    middles = [(start + stop - 1) / 2 for start, stop, _ in bounds]
    names = [name for _, _, name in bounds]
    size = _font_size(len(bounds))
    axes.set_xticks(middles, names, rotation=90, color=INK, fontsize=size, parse_math=False)
    axes.set_yticks(middles, names, color=INK, fontsize=size, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, shrink=0.6, pad=0.02)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def colour_range(matrix: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and the highest value of a matrix (N, N) beside its diagonal; 0 and 1 for one item."""
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    return (float(off.min()), float(off.max())) if len(off) else (0.0, 1.0)


def levels(matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a matrix (N, N) in whole steps, 0 at the lowest and 255 at the highest of `colour_range`."""
    low, high = colour_range(matrix)
    share = (matrix - low) / ((high - low) or 1.0)
    whole: NDArray[np.uint8] = np.rint(np.clip(share, 0.0, 1.0) * LEVELS).astype(np.uint8)
    return whole


def paint_cells(cells: NDArray[np.uint8]) -> bytes:
    """Return a PNG of one pixel a cell (N, N), without axes, in the colours of `draw_heatmap`."""
    stream = io.BytesIO()
    picture = Image.fromarray(cells)
    picture.putpalette([channel for colour in colours() for channel in colour])
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def colours() -> list[tuple[int, int, int]]:
    """Return the colour of each level, 0 to 255."""
    table = matplotlib.colormaps[COLOURS](np.arange(LEVELS + 1), bytes=True)
    return [(int(red), int(green), int(blue)) for red, green, blue, _ in table]


def runs(groups: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (start, stop, name) of each run of equal names."""
    found, at = [], 0
    for name, members in groupby(groups):
        size = len(list(members))
        found.append((at, at + size, name))
        at += size
    return found


def _font_size(names: int) -> float:
    """Return the size in points at which so many names fit along one axis."""
    room = INCHES * 0.7 * 72 / max(names, 1) / LINE_HEIGHT
    return min(LARGEST_PT, max(SMALLEST_PT, room))
