"""The figure of docs/sketch.md."""

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from bench.findings import BINS, Findings, square_shapes

INK, GRID = "#333a45", "#d9dde3"
COLORS = ("#b7c0cc", "#8aa9c9", "#5a8fc0", "#2f74b5", "#1a5490", "#0d3560")
COPY, DISTINCT, OTHER = "#2f74b5", "#9aa3af", "#e08a3c"


def draw(findings: Findings) -> bytes:
    """Return the figure as PNG: errors, recall of themes, near-duplicates and costs."""
    figure = Figure(
        figsize=(12, 8.4),
        dpi=130,
        facecolor="white",
        layout=ConstrainedLayoutEngine(hspace=0.08, wspace=0.04),
    )
    panels: tuple[Callable[[Axes, Findings], None], ...] = (
        _draw_errors,
        _draw_recall,
        _draw_near,
        _draw_costs,
    )
    for axes, panel in zip(figure.subplots(2, 2).ravel(), panels, strict=True):
        axes.set_axisbelow(True)
        axes.grid(color=GRID, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(INK)
        axes.tick_params(colors=INK, labelsize=9)
        panel(axes, findings)
        axes.title.set_color(INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _mark_sizes(axes: Axes, findings: Findings) -> None:
    sizes = list(square_shapes(findings))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.axvline(int(findings["profile shape"].split("x")[0]), color=OTHER, linewidth=1.2, linestyle=":")
    axes.set_xlabel("m = p  (dotted: profile)", color=INK)


def _draw_errors(axes: Axes, findings: Findings) -> None:
    squares = square_shapes(findings)
    lines: tuple[tuple[str, str, Callable[[dict[str, Any]], float]], ...] = (
        ("95th percentile, all pairs", COLORS[4], lambda error: error["p95"]),
        ("mean, all pairs", COLORS[2], lambda error: error["mean"]),
        ("mean, pairs within a theme", OTHER, lambda error: error["theme"]["mean"]),
    )
    for label, color, pick in lines:
        axes.plot(
            list(squares), [pick(row["error"]) for row in squares.values()], "o-", color=color, label=label
        )
    for name, row in findings["shapes"].items():
        m, p = map(int, name.split("x"))
        if m != p:
            axes.plot((m * p) ** 0.5, row["error"]["p95"], "D", mfc="white", color=COLORS[4], markersize=6)
            axes.annotate(f"{m} × {p}", ((m * p) ** 0.5, row["error"]["p95"]), (8, 2 if m < p else -8),
                          textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
    _mark_sizes(axes, findings)
    axes.set_yscale("log")
    pairs = findings["shapes"][findings["profile shape"]]["error"]["pairs"]
    axes.set_title(f"Error of an inner product, relative to both norms ({pairs:,} pairs)", fontsize=11)
    axes.legend(frameon=False, fontsize=9)


def _draw_recall(axes: Axes, findings: Findings) -> None:
    squares = square_shapes(findings)
    shares = list(findings["shapes"][findings["profile shape"]]["recall"]["shares"])
    for share, color in zip(shares, COLORS, strict=False):
        rows = [row["recall"]["shares"][share] for row in squares.values()]
        axes.plot(
            list(squares), [row["sketch"] for row in rows], "o-", color=color, label=f"{float(share):.0%}"
        )
        axes.axhline(rows[0]["exact"], color=color, linestyle="--", linewidth=1)
    axes.axhline(1 / findings["pool"]["themes"], color=DISTINCT, linewidth=1, linestyle=":")
    _mark_sizes(axes, findings)
    axes.set_ylim(0, 1.04)
    axes.set_title("Nearest neighbor has the same theme (dashed: exact, dotted: chance)", fontsize=11)
    axes.legend(
        frameon=False, fontsize=9, title="theme's\nshare", title_fontsize=9,
        loc="center left", bbox_to_anchor=(1, 0.5), reverse=True,
    )  # fmt: skip


def _draw_near(axes: Axes, findings: Findings) -> None:
    middles, width = 10 ** ((BINS[:-1] + BINS[1:]) / 2), np.diff(10**BINS)
    counts = findings["near"]["fingerprint"]["histograms"]
    for name, label, color in (
        ("distinct", "distinct adapters of one theme", DISTINCT),
        ("required", "re-saved, -scaled, -quantized, -factored, padded", COPY),
        ("other", "plain casts to fp8; blocks re-scaled", OTHER),
    ):
        shares = np.array(counts[name]) / max(1, sum(counts[name]))
        axes.bar(middles, shares, width=width, color=color, alpha=0.85, label=label)
    for threshold in findings["near"]["fingerprint"]["thresholds"]:
        axes.axvline(1 - float(threshold), color=INK, linewidth=1, linestyle="--")
        axes.annotate(threshold, (1 - float(threshold), 0.66), (2, 0), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=8, color=INK, rotation=90, va="top")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(10 ** BINS[-1], 10 ** BINS[0])
    axes.set_xlabel("1 - cosine of fingerprints  (more similar →)", color=INK)
    axes.set_ylabel("share of pairs", color=INK)
    axes.set_title("Near-duplicates and distinct adapters", fontsize=11)
    axes.set_ylim(0, 1)
    axes.legend(frameon=True, framealpha=1, edgecolor="none", fontsize=9, loc="upper right")


def _draw_costs(axes: Axes, findings: Findings) -> None:
    squares = square_shapes(findings)
    axes.plot(
        list(squares), [row["megabytes"] for row in squares.values()], "s-", color=OTHER, label="MB stored"
    )
    for step, color in (("sketch", COLORS[4]), ("encode", COLORS[2])):
        seconds = [findings["sizes"][str(size)][step] for size in squares]
        axes.plot(list(squares), seconds, "o-", color=color, label=f"s to {step}")
    _mark_sizes(axes, findings)
    axes.set_yscale("log")
    axes.set_title("Cost of one adapter of rank 16 in all linears", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
