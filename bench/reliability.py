"""The reliability diagram: how often what probabilities are stated for is right, as a figure."""

import io
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from autolora.storage.arrays import BoolArray, Float64Array

INK, GRID, COLOR = "#333a45", "#d9dde3", "#2f74b5"
BINS = 10
"""of probabilities"""


def draw_reliability(probabilities: Float64Array, right: BoolArray) -> bytes:
    """Return the reliability diagram as PNG; each point is labeled with the number of adapters behind it."""
    figure = Figure(figsize=(5.2, 4.8), dpi=130, facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.grid(color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
    means, shares, counts = zip(*reliability_bins(probabilities, right), strict=True)
    axes.plot(means, shares, color=COLOR, marker="o")
    for mean, share, count in zip(means, shares, counts, strict=True):
        axes.annotate(str(count), (mean, share), (6, -10), textcoords="offset points", fontsize=8, color=INK)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="stated relevance", ylabel="share of adapters that fit")
    axes.set_title(f"calibration error {calibration_error(probabilities, right):.3f}", fontsize=10, color=INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def reliability_bins(probabilities: Float64Array, right: BoolArray) -> Iterator[tuple[float, float, int]]:
    """Yield (mean probability, share that is right, number) of each tenth of the range that has some."""
    rows = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    for number in range(BINS):
        chosen = rows == number
        if chosen.any():
            yield float(probabilities[chosen].mean()), float(right[chosen].mean()), int(chosen.sum())


def calibration_error(probabilities: Float64Array, right: BoolArray) -> float:
    """Return the expected calibration error: the mean of |probability - share that is right| over the bins."""
    total = sum(count * abs(mean - share) for mean, share, count in reliability_bins(probabilities, right))
    return total / max(len(probabilities), 1)
