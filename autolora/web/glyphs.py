"""A drawing of an adapter's weights, for adapters without images: near weights have near drawings."""

import numpy as np

from autolora.storage.arrays import Float32Array, Float64Array

CELLS = 6
"""per side; the drawing is mirrored, so half of the columns are drawn from the vector"""
SEED = 0
SIZE = 60
"""of the view box"""


def draw_glyph(vector: Float32Array) -> str:
    """Return an SVG of mirrored tiles, whose colors and sizes are random projections of a vector (d,).

    The projections are the same for all adapters, so near vectors have near colors.
    """
    length = float(np.linalg.norm(vector))
    half = CELLS * CELLS // 2
    values = _project(vector / length if length else vector, half + 2)
    hue = round(float(np.degrees(np.arctan2(values[0], values[1]))) % 360)
    strengths = np.tanh(values[2:].reshape(CELLS, CELLS // 2))
    cells = np.concatenate([strengths, strengths[:, ::-1]], axis=1)
    tiles = "".join(
        _tile(row, column, float(cells[row, column]), hue) for row in range(CELLS) for column in range(CELLS)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" width="{SIZE}" height="{SIZE}">'
        f'<rect width="{SIZE}" height="{SIZE}" fill="hsl({hue} 24% 50%)" fill-opacity=".16"/>{tiles}</svg>'
    )


def _project(vector: Float32Array, count: int) -> Float64Array:
    """Return random projections (count,) of a unit vector, each of about unit variance."""
    rng = np.random.default_rng(SEED)
    projected: Float64Array = rng.standard_normal((count, len(vector))) @ vector
    return projected


def _tile(row: int, column: int, strength: float, hue: int) -> str:
    """Return one tile: larger and denser with a stronger value, of the complementary hue if it is negative."""
    pitch = SIZE / CELLS
    side = pitch * (0.25 + 0.6 * abs(strength))
    x, y = pitch * (column + 0.5) - side / 2, pitch * (row + 0.5) - side / 2
    color = f"hsl({hue if strength > 0 else (hue + 150) % 360} 62% 52%)"
    opacity = 0.35 + 0.6 * abs(strength)
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}" rx="{side / 4:.1f}" '
        f'fill="{color}" fill-opacity="{opacity:.2f}"/>'
    )
