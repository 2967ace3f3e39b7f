"""A similarity matrix as a picture of one pixel a cell."""

import io

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLORS = "magma"
LEVELS = 255
"""a cell is one of the levels 0 to 255 between the lowest and the highest cosine"""


def color_range(matrix: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and the highest value of a matrix (N, N) beside its diagonal; 0 and 1 for one item.

    The diagonal is 1 by definition and would flatten the rest.
    """
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    return (float(off.min()), float(off.max())) if len(off) else (0.0, 1.0)


def levels(matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a matrix (N, N) in whole steps, 0 at the lowest and 255 at the highest of `color_range`."""
    low, high = color_range(matrix)
    share = (matrix - low) / ((high - low) or 1.0)
    whole: NDArray[np.uint8] = np.rint(np.clip(share, 0.0, 1.0) * LEVELS).astype(np.uint8)
    return whole


def paint_cells(cells: NDArray[np.uint8]) -> bytes:
    """Return a PNG of one pixel a cell (N, N), in `colors`."""
    stream = io.BytesIO()
    picture = Image.fromarray(cells)
    picture.putpalette([channel for color in colors() for channel in color])
    picture.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def colors() -> list[tuple[int, int, int]]:
    """Return the color of each level, 0 to 255."""
    table = matplotlib.colormaps[COLORS](np.arange(LEVELS + 1), bytes=True)
    return [(int(red), int(green), int(blue)) for red, green, blue, _ in table]
