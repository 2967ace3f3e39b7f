"""The reliability diagram: how often what probabilities are stated for is right, as a figure."""

import io

from matplotlib.figure import Figure

from autolora.metrics.retrieval import calibration_error, reliability_bins
from autolora.storage.arrays import BoolArray, Float64Array

INK, GRID, COLOR = "#333a45", "#d9dde3", "#2f74b5"


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
