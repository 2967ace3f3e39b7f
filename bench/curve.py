"""The sketch curve as tables, picture and document."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from autolora.storage.files import write_atomic
from bench.findings import BINS, Findings

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
INK, GRID = "#333a45", "#d9dde3"
COLOURS = ("#b7c0cc", "#8aa9c9", "#5a8fc0", "#2f74b5", "#1a5490", "#0d3560")
COPY, DISTINCT, OTHER = "#2f74b5", "#9aa3af", "#e08a3c"


def update(path: Path, findings: Findings) -> None:
    """Replace the numbers of the document, which stand between two marks."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    write_atomic(path, "\n".join((before + BEGIN, "", *write_lines(findings), "", END + after)))


def write_lines(findings: Findings) -> list[str]:
    """Return the measured part of the document."""
    parts = (_setting, _sizes, _verdict, _shares, _kinds, _thresholds, _costs)
    return [line for part in parts for line in (*part(findings), "")][:-1]


def _setting(findings: Findings) -> list[str]:
    world = findings["world"]
    subsets = ", ".join(f"{name} {count}" for name, count in world["subsets"].items())
    return [
        f"Measured {findings['date']} on {findings['hardware']}, by `{findings['command']}`, "
        f"in {findings['seconds'] / 60:.0f} minutes.",
        "",
        f"{world['adapters']} adapters of {world['themes']} themes and {world['authors']} authors, "
        f"ranks {', '.join(map(str, world['ranks']))}, {world['slots']} linears; trained linears: {subsets}; "
        f"{world['megabytes'] / 1e3:.1f} GB of files, each written, read and deleted.",
    ]


def _sizes(findings: Findings) -> list[str]:
    threshold = str(findings["family_cosine"])
    lines = [
        "| m × p | MB an adapter | error, mean | p95 | within a theme, mean | p95 "
        f"| theme 1-NN | exact | difference, points | copies found, ≥ {threshold} | false alarms |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in findings["shapes"].items():
        near = findings["near"][name]["thresholds"][threshold]
        mark = "**" if name == findings["chosen"] else ""
        error, recall = row["error"], row["recall"]
        lines.append(
            f"| {mark}{name.replace('x', ' × ')}{mark} | {row['megabytes']:.2f} "
            f"| {error['mean']:.4f} | {error['p95']:.4f} "
            f"| {error['theme']['mean']:.4f} | {error['theme']['p95']:.4f} "
            f"| {recall['sketch']:.1%} | {recall['exact']:.1%} | {_points(recall['difference'])} "
            f"| {_rate(near['found'])} | {_rate(near['alarms'])} |"
        )
    return lines


def _verdict(findings: Findings) -> list[str]:
    """Return which sizes meet the three demands that a sketch has to meet."""
    threshold = str(findings["family_cosine"])
    fit = [
        str(size)
        for size, row in _squares(findings).items()
        if meets(row["recall"], findings["near"][f"{size}x{size}"]["thresholds"][threshold])
    ]
    return [
        "Theme 1-NN within 1 point of exact, copies found in 99 % or more, false alarms in 0.1 % or less: "
        f"m = p = {', '.join(fit) or 'none'} of those measured."
    ]


def meets(recall: Findings, near: Findings) -> bool:
    """Tell whether a sketch keeps what exact inner products tell, and its threshold copies from strangers."""
    found, alarms = (near[name]["k"] / near[name]["n"] for name in ("found", "alarms"))
    return abs(recall["difference"]["value"]) <= 0.01 and found >= 0.99 and alarms <= 0.001


def _shares(findings: Findings) -> list[str]:
    shapes = list(findings["shapes"])
    first = findings["shapes"][shapes[0]]["recall"]["shares"]
    lines = [
        "| theme's share | exact cosine within, median | highest | 1-NN exact | "
        + " | ".join(shape.replace("x", " × ") for shape in shapes)
        + " |",
        "|---" * (4 + len(shapes)) + "|",
    ]
    for share in first:
        alike = findings["alike"][share]
        found = [findings["shapes"][shape]["recall"]["shares"][share]["sketch"] for shape in shapes]
        lines.append(
            f"| {float(share):.0%} | {alike['median']:.3f} | {alike['highest']:.3f} | {first[share]['exact']:.1%} | "
            + " | ".join(f"{value:.1%}" for value in found)
            + " |"
        )
    other = findings["alike"]["other themes"]
    return [
        *lines,
        "",
        f"Adapters of different themes: exact cosine {other['median']:.3f} in the median, "
        f"{other['highest']:.3f} at most.",
    ]


def _kinds(findings: Findings) -> list[str]:
    statistics = (findings["chosen"], "fingerprint", "slots")
    lines = [
        "| copy | n | exact cosine, median | lowest | found at 0.98: sketch, fingerprint, slots | at 0.95 |",
        "|---|---|---|---|---|---|",
    ]
    for kind, row in findings["kinds"].items():
        at = [", ".join(str(row["found"][name][t]) for name in statistics) for t in ("0.98", "0.95")]
        name = kind if row["asked"] else f"*{kind}*"
        lines.append(
            f"| {name} | {row['n']} | {row['exact']['median']:.5f} | {row['exact']['lowest']:.5f} | {at[0]} | {at[1]} |"
        )
    return lines


def _thresholds(findings: Findings) -> list[str]:
    rows = {"exact cosine": findings["exact"]}
    names = {
        findings["chosen"]: "sketch's cosine",
        "fingerprint": "fingerprint's cosine",
        "slots": "mean of slots' cosines",
    }
    rows |= {spelled: findings["near"][name] for name, spelled in names.items()}
    lines = [
        "| statistic | lowest copy | highest distinct | threshold | copies found | false alarms |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        for threshold, at in row["thresholds"].items():
            lines.append(
                f"| {name} | {row['lowest copy']:.5f} | {row['highest distinct']:.4f} | {threshold} "
                f"| {_rate(at['found'])} | {_rate(at['alarms'])} |"
            )
    return lines


def _costs(findings: Findings) -> list[str]:
    world, largest, fused = findings["world"], findings["largest"], findings["fused"]
    total, sum_of = world["megabytes"], world["seconds"]
    each = ", ".join(f"{step} {sum_of[step] / total * 1e3:.1f}" for step in ("hash", "parse", "sketch"))
    share = sum_of["sketch"] / (sum_of["hash"] + sum_of["parse"] + sum_of["sketch"])
    lines = [
        f"- The processor's milliseconds a MB of file, over all adapters: {each}; sketching is {share:.0%} "
        "of hashing, parsing and sketching together.",
        f"- The processor's milliseconds an adapter, median: parse {world['median']['parse'] * 1e3:.0f}, "
        f"sketch {world['median']['sketch'] * 1e3:.0f}, encode {world['median']['encode'] * 1e3:.0f}.",
        f"- The largest (rank {largest['rank']}, all linears, {largest['file']:.0f} MB): "
        f"{largest['seconds']:.1f} s to read and sketch; its process peaks at {largest['peak']:.0f} MB of memory, "
        f"{largest['peak'] - largest['before']:.0f} MB of them for it.",
        f"- A fused slot's sketch differs from the sum of its parts' by {fused['millionths']:.2g} millionths of its "
        f"largest entry at most ({fused['slots']} slots).",
        "",
        "| m = p | sketch, ms | encode, ms |",
        "|---|---|---|",
    ]
    for name, row in findings["sizes"].items():
        lines.append(f"| {name} | {row['sketch'] * 1e3:.0f} | {row['encode'] * 1e3:.0f} |")
    return [*lines, "", "(rank 16, all linears; one adapter alone)"]


def _points(difference: Findings) -> str:
    return (
        f"{difference['value'] * 100:+.1f} [{difference['low'] * 100:+.1f}, {difference['high'] * 100:+.1f}]"
    )


def _rate(rate: Findings) -> str:
    share = rate["k"] / rate["n"]
    return f"{share:.2%} of {rate['n']} [{rate['low']:.2%}, {rate['high']:.2%}]"


def draw(findings: Findings) -> bytes:
    """Return the picture as PNG: errors, recall of themes, near-duplicates and costs."""
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


def _squares(findings: Findings) -> dict[int, Findings]:
    shapes = {name: row for name, row in findings["shapes"].items() if len(set(name.split("x"))) == 1}
    return {int(name.split("x")[0]): row for name, row in shapes.items()}


def _mark_sizes(axes: Axes, findings: Findings) -> None:
    sizes = list(_squares(findings))
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.axvline(int(findings["chosen"].split("x")[0]), color=OTHER, linewidth=1.2, linestyle=":")
    axes.set_xlabel("m = p  (dotted: chosen)", color=INK)


def _draw_errors(axes: Axes, findings: Findings) -> None:
    squares = _squares(findings)
    for label, colour, pick in (
        ("95 % of pairs below", COLOURS[4], lambda error: error["p95"]),
        ("mean, all pairs", COLOURS[2], lambda error: error["mean"]),
        ("mean, pairs of one theme", OTHER, lambda error: error["theme"]["mean"]),
    ):
        axes.plot(
            list(squares), [pick(row["error"]) for row in squares.values()], "o-", color=colour, label=label
        )
    for name, row in findings["shapes"].items():
        m, p = map(int, name.split("x"))
        if m != p:
            axes.plot((m * p) ** 0.5, row["error"]["p95"], "D", mfc="white", color=COLOURS[4], markersize=6)
            axes.annotate(f"{m} × {p}", ((m * p) ** 0.5, row["error"]["p95"]), (8, 2 if m < p else -8),
                          textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
    _mark_sizes(axes, findings)
    axes.set_yscale("log")
    pairs = findings["shapes"][findings["chosen"]]["error"]["pairs"]
    axes.set_title(f"Error of an inner product, relative to both norms ({pairs:,} pairs)", fontsize=11)
    axes.legend(frameon=False, fontsize=9)


def _draw_recall(axes: Axes, findings: Findings) -> None:
    squares = _squares(findings)
    shares = list(findings["shapes"][findings["chosen"]]["recall"]["shares"])
    for share, colour in zip(shares, COLOURS, strict=False):
        rows = [row["recall"]["shares"][share] for row in squares.values()]
        axes.plot(
            list(squares), [row["sketch"] for row in rows], "o-", color=colour, label=f"{float(share):.0%}"
        )
        axes.axhline(rows[0]["exact"], color=colour, linestyle="--", linewidth=1)
    axes.axhline(1 / findings["world"]["themes"], color=DISTINCT, linewidth=1, linestyle=":")
    _mark_sizes(axes, findings)
    axes.set_ylim(0, 1.04)
    axes.set_title("Nearest neighbor has the theme (dashed: exact, dotted: chance)", fontsize=11)
    axes.legend(
        frameon=False, fontsize=9, title="theme's\nshare", title_fontsize=9,
        loc="center left", bbox_to_anchor=(1, 0.5), reverse=True,
    )  # fmt: skip


def _draw_near(axes: Axes, findings: Findings) -> None:
    middles, width = 10 ** ((BINS[:-1] + BINS[1:]) / 2), np.diff(10**BINS)
    counts = findings["near"]["fingerprint"]["histograms"]
    for name, label, colour in (
        ("distinct", "distinct adapters of one theme", DISTINCT),
        ("asked", "re-saved, -scaled, -quantized, -factored, padded", COPY),
        ("others", "cast to fp8 as they are; blocks re-scaled", OTHER),
    ):
        shown = np.array(counts[name]) / max(1, sum(counts[name]))
        axes.bar(middles, shown, width=width, color=colour, alpha=0.85, label=label)
    for threshold in findings["near"]["fingerprint"]["thresholds"]:
        axes.axvline(1 - float(threshold), color=INK, linewidth=1, linestyle="--")
        axes.annotate(threshold, (1 - float(threshold), 0.66), (2, 0), xycoords=("data", "axes fraction"),
                      textcoords="offset points", fontsize=8, color=INK, rotation=90, va="top")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(10 ** BINS[-1], 10 ** BINS[0])
    axes.set_xlabel("1 - cosine of fingerprints  (alike →)", color=INK)
    axes.set_ylabel("share of pairs", color=INK)
    axes.set_title("Near-duplicates and strangers", fontsize=11)
    axes.set_ylim(0, 1)
    axes.legend(frameon=True, framealpha=1, edgecolor="none", fontsize=9, loc="upper right")


def _draw_costs(axes: Axes, findings: Findings) -> None:
    squares = _squares(findings)
    axes.plot(
        list(squares), [row["megabytes"] for row in squares.values()], "s-", color=OTHER, label="MB kept"
    )
    for step, colour in (("sketch", COLOURS[4]), ("encode", COLOURS[2])):
        seconds = [findings["sizes"][str(size)][step] for size in squares]
        axes.plot(list(squares), seconds, "o-", color=colour, label=f"s to {step}")
    _mark_sizes(axes, findings)
    axes.set_yscale("log")
    axes.set_title("Cost of an adapter of rank 16 in all linears", fontsize=11)
    axes.legend(frameon=False, fontsize=9)
