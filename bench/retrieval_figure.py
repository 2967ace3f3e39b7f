"""The figure of docs/retrieval.md: theme R@1 of all methods."""

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

INK, GRID, OURS, OTHERS = "#333a45", "#d9dde3", "#2f74b5", "#9aa3af"
METHODS = {
    "weights": "weights alone",
    "paper": "preset paper", "released": "preset released", "caption centroid": "caption centroid",
    "plain caption centroid": "caption centroid, text as it is", "BM25 of captions": "BM25 of captions",
    "reciprocal rank fusion": "reciprocal rank fusion", "BM25 of metadata": "BM25 of metadata",
    "PCA of weights": "PCA of weights", "rendering centroid": "rendering centroid",
    "popularity": "popularity", "random": "chance",
}  # fmt: skip
"""name in the tables -> label, from the top; the first is of the preset `best`"""
PANELS = {
    "whole index": ("whole index", "theme"),
    "index of unseen adapters": ("unseen index", "theme"),
    "themes that no training adapter has": ("whole index", "absent theme"),
}
"""title -> index and level"""


def draw_retrieval(tables: Mapping[str, Any]) -> bytes:
    """Return the figure as PNG. tables: index -> level -> method -> estimate."""
    figure = Figure(figsize=(11, 4.6), dpi=130, facecolor="white", layout="constrained")
    panels = figure.subplots(1, len(PANELS), sharey=True)
    labels = list(METHODS.values())[::-1]
    for axes, (title, (index, level)) in zip(panels, PANELS.items(), strict=True):
        rows = [tables[index][level].get(name) for name in METHODS][::-1]
        axes.set_axisbelow(True)
        axes.grid(axis="x", color=GRID, linewidth=0.7)
        axes.spines[["top", "right", "left"]].set_visible(False)
        for position, row in enumerate(rows):
            if row is not None:
                color = OURS if position == len(rows) - 1 else OTHERS
                error = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
                axes.barh(position, row["value"], xerr=error, color=color, height=0.62, ecolor=INK, capsize=2)
        axes.set(xlim=(0, 1), yticks=range(len(labels)), yticklabels=labels)
        axes.tick_params(axis="y", length=0, labelsize=9, colors=INK)
        axes.set_title(title, fontsize=10, color=INK)
    figure.supxlabel("theme R@1, 95 % intervals", fontsize=9, color=INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
