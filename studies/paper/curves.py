"""Curves over the number of loaded adapters, as a picture."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from studies.paper.experiments import UNNAMED_WAYS
from studies.tables import main_score

INK, GRID = "#333a45", "#d9dde3"
COLORS = ("#9aa3af", "#2f74b5", "#c8553d", "#e0a030", "#2a8f6a")
STYLES = ("-", "-", "-", "-", "--")
"""of the rows of UNNAMED_WAYS, in order: the last is equal to another one if a single adapter acts"""
PANELS = {"single": "prompt asks for one adapter", "unnamed": "prompt asks for two adapters"}
"""names of the tables that have curves, and their titles"""
Point = tuple[int, float, float, float]
"""number of loaded adapters, and value, low and high of a score; all three are equal without an interval"""


def draw_curves(tables: Mapping[str, Any]) -> bytes:
    """Return the main score by the number of loaded adapters as PNG.

    tables: name -> summary of an experiment; at least one of PANELS.
    """
    panels = {name: title for name, title in PANELS.items() if name in tables}
    figure = Figure(figsize=(4.8 * len(panels), 3.9), dpi=130, facecolor="white", layout="constrained")
    for number, (name, title) in enumerate(panels.items(), start=1):
        axes, score = figure.add_subplot(1, len(panels), number), main_score(tables[name]["rows"])
        for way, color, style in zip(UNNAMED_WAYS, COLORS, STYLES, strict=True):
            _draw_curve(axes, way.name, _points(tables[name]["rows"], way.name, score), color, style)
        axes.set(xlabel="loaded adapters", ylabel=f"{score}, share of images", ylim=(0, 1.02))
        axes.set_title(title, fontsize=10, color=INK)
        axes.grid(color=GRID, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    lines, names = figure.axes[-1].get_legend_handles_labels()
    figure.legend(
        lines, names, loc="outside lower center", ncols=len(names), fontsize=8, frameon=False, labelcolor=INK
    )
    return to_png(figure)


def _points(rows: Mapping[str, Any], name: str, score: str) -> list[Point]:
    points = []
    for row, scores in rows.items():
        way, _, loaded = row.removesuffix(" loaded").rpartition(", ")
        if way == name and score in scores:
            entry = scores[score]
            value, low, high = (entry[name] for name in ("value", "low", "high"))
            bounds = (value, value) if low is None else (low, high)
            points.append((int(loaded), value, *bounds))
    return sorted(points)


def _draw_curve(axes: Axes, label: str, points: Sequence[Point], color: str, style: str) -> None:
    loaded, values, lows, highs = zip(*points, strict=True)
    axes.plot(loaded, values, color=color, linestyle=style, marker="o", markersize=3, label=label)
    axes.fill_between(loaded, lows, highs, color=color, alpha=0.1, linewidth=0)


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG; equal figures give equal bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
