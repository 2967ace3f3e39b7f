"""A similarity matrix as a picture: items in groups, lines between the groups."""

import io
from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

INK = "#8a8f98"  # readable on white and on black
DPI = 160
INCHES = 6.4


def draw_heatmap(matrix: NDArray[np.float64], groups: Sequence[str]) -> bytes:
    """Return a transparent PNG of a symmetric matrix (N, N) whose items are ordered by `groups` (N,).

    The diagonal is left out of the colour range: it is 1 by definition and would flatten the rest.
    """
    figure = Figure(figsize=(INCHES, INCHES), dpi=DPI, facecolor="none", layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("none")
    off = matrix[~np.eye(len(matrix), dtype=bool)]
    low, high = (float(off.min()), float(off.max())) if len(off) else (0.0, 1.0)
    image = axes.imshow(matrix, vmin=low, vmax=high, cmap="magma", interpolation="nearest")
    runs = _runs(groups)
    for start, _, _ in runs[1:]:
        axes.axhline(start - 0.5, color="white", linewidth=0.8)
        axes.axvline(start - 0.5, color="white", linewidth=0.8)
    middles = [(start + stop - 1) / 2 for start, stop, _ in runs]
    names = [name for _, _, name in runs]
    axes.set_xticks(middles, names, rotation=45, ha="right", color=INK, fontsize=9, parse_math=False)
    axes.set_yticks(middles, names, color=INK, fontsize=9, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, shrink=0.6, pad=0.02)
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _runs(groups: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (start, stop, name) of each run of equal names."""
    runs, at = [], 0
    for name, members in groupby(groups):
        size = len(list(members))
        runs.append((at, at + size, name))
        at += size
    return runs
