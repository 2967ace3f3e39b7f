"""The page of the month: docs/nights.md with its picture, and the rows of metrics/details.json."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from autolora.metrics.summary import Headline, update
from autolora.storage.files import MB, write_atomic
from bench.nights.checks import TOLERANCE, Findings
from bench.nights.diary import Entry
from bench.timing import name_processor, today

COMMAND = "python -m bench.nights"
PAGE, PICTURE = Path("docs", "nights.md"), Path("docs", "images", "nights.svg")
INK, GRID = "#333a45", "#d9dde3"
COLORS = {
    "promoted": "#2f74b5", "refused": "#c44e3b", "pinned": "#8a6bb8", "failed": "#d9962f", "killed": "#d9962f",
    "nothing": "#9aa3af",
}  # fmt: skip
DISK_PARTS = {
    ".dvc/cache": "DVC's cache",
    "../remote": "remote",
    ".git": "git",
    "cache": "cache",
    "data": "data",
}
HEADER = (
    "night", "what happens", "index", "CPU s", "requests", "adapters", "new", "disk, MB",
)  # fmt: skip


def write(root: Path, entries: Sequence[Entry], findings: Findings) -> None:
    """Write page, picture and numbers."""
    write_atomic(root / PAGE, render(entries, findings))
    write_atomic(root / PICTURE, draw(entries))
    update(root, COMMAND, today(), headlines(entries, findings))


def render(entries: Sequence[Entry], findings: Findings) -> str:
    """Return the page as Markdown."""
    base, per_adapter = cost(entries)
    disk, disk_per_adapter = growth(entries)
    quiet = np.mean([entry.cpu_seconds for entry in entries if entry.verdict == "nothing"])
    parts = (
        "# Thirty nights",
        f"    {COMMAND}            # an hour of two cores; continues if it is interrupted; --again starts over",
        "A project with a git and a DVC remote lives through a month of refreshes with the real stages, at simulated "
        "dates. Three hubs publish, change and withdraw adapters, and go down; machines and stages fail; three nights "
        "are poisoned. `bench/nights/plan.py` says what happens and what should become of each index, before it is "
        f"run. This page was written by the command on {today()} ({name_processor()}, 2 cores, other work beside it: "
        "CPU seconds are the comparable ones).",
        "## What it shows",
        "\n".join(_results(entries, findings)),
        f"A night with changes costs {base:.0f} CPU seconds, most of them the start of its processes, and "
        f"{per_adapter:+.1f} for each new adapter; one without costs {quiet:.0f}. The project with its remote has "
        f"{disk / MB:.1f} MB, of them the models of the playground, and {disk_per_adapter / MB:.2f} MB for each "
        "adapter (least squares).",
        "![Seconds and bytes per night](images/nights.svg)",
        "## Every night",
        table(entries),
        "*disk* is of project and remote, and counts a file that has several links once. `refused` and `failed` "
        "nights serve the index before.",
    )
    return "\n\n".join(parts) + "\n"


def _results(entries: Sequence[Entry], findings: Findings) -> Iterator[str]:
    """Yield the lines on what was checked."""
    bad = sum(entry.expected == "refused" for entry in entries)
    good = sum(entry.expected == "promoted" for entry in entries)
    yield "| checked | result |"
    yield "|---|---|"
    yield f"| bad releases promoted | {_counted(findings.false_promotions, bad)} |"
    yield f"| good releases refused | {_counted(findings.false_refusals, good)} |"
    yield f"| other nights that ended otherwise than planned | {_counted(findings.other, len(entries))} |"
    right, differing = findings.releases - len(findings.wrong_releases), ", ".join(findings.rebuild_differs)
    yield (
        "| releases from a fresh clone: cosines of all adapters and pinned queries as on their night, less takedowns | "
        f"{right} of {findings.releases}, largest change {findings.release_change:.1e}"
        f"{_named(findings.wrong_releases)} |"
    )
    yield (
        "| the last state, built again from catalog, batches and encoder | digests "
        f"{f'of {differing} differ' if differing else 'equal'}, largest difference of a vector's number "
        f"{findings.rebuild_change:.1e} |"
    )


def _counted(names: Sequence[str], of: int) -> str:
    return f"{len(names)} of {of}{_named(names)}"


def _named(names: Sequence[str]) -> str:
    return f": {'; '.join(names)}" if names else ""


def table(entries: Sequence[Entry]) -> str:
    """Return the table of all nights."""
    rows = [HEADER, tuple("---" for _ in HEADER), *map(_cells, entries)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(entry: Entry) -> tuple[str, ...]:
    why = f" ({', '.join(entry.reasons)})" if entry.verdict == "refused" else ""
    return (
        str(entry.night), entry.what, f"{entry.verdict}{why}", f"{entry.cpu_seconds:.0f}", str(entry.requests),
        str(entry.adapters), str(entry.new), f"{entry.disk / MB:.1f}",
    )  # fmt: skip


def cost(entries: Sequence[Entry]) -> tuple[float, float]:
    """Return the CPU seconds of a night without new adapters, and those of each new one; trainings are left out."""
    whole = [entry for entry in entries[1:] if entry.verdict in ("promoted", "refused", "pinned")]
    slope, base = np.polyfit([entry.new for entry in whole], [entry.cpu_seconds for entry in whole], 1)
    return float(base), float(slope)


def growth(entries: Sequence[Entry]) -> tuple[float, float]:
    """Return the bytes of a project without adapters, and those that each adapter adds."""
    slope, base = np.polyfit([entry.adapters for entry in entries], [entry.disk for entry in entries], 1)
    return float(base), float(slope)


def draw(entries: Sequence[Entry]) -> bytes:
    """Return the picture as SVG: CPU seconds and bytes of each night."""
    figure = Figure(figsize=(9, 4.6), facecolor="white", layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    nights = [entry.night for entry in entries]
    for axes in (above, below):
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=GRID, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    for verdict, color in COLORS.items():
        own = [entry for entry in entries if entry.verdict == verdict]
        above.bar([e.night for e in own], [e.cpu_seconds for e in own], color=color, label=verdict)
    for name, label in DISK_PARTS.items():
        below.plot(nights, [entry.bytes[name] / MB for entry in entries], label=label, linewidth=1.4)
    pool = below.twinx()
    pool.plot(nights, [entry.adapters for entry in entries], color=INK, linestyle=":", label="adapters")
    pool.set_ylabel("adapters", color=INK, fontsize=9)
    above.set_ylabel("CPU seconds", color=INK, fontsize=9)
    below.set(xlabel="night")
    below.set_ylabel("MB", color=INK, fontsize=9)
    above.legend(fontsize=8, ncols=6, frameon=False)
    below.set_ylim(0, 1.2 * below.get_ylim()[1])
    below.legend(fontsize=8, ncols=5, frameon=False, loc="upper left")
    stream = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "nights"}):
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def headlines(entries: Sequence[Entry], findings: Findings) -> Iterator[Headline]:
    """Yield the rows of metrics/details.json."""
    bad = sum(entry.expected == "refused" for entry in entries)
    good = sum(entry.expected == "promoted" for entry in entries)
    base, per_adapter = cost(entries)
    values: dict[str, tuple[float, int, Literal["higher", "lower"], float | None]] = {
        "nights": (len(entries), len(entries), "higher", None),
        "nights_bad_promoted": (len(findings.false_promotions), bad, "lower", 0),
        "nights_good_refused": (len(findings.false_refusals), good, "lower", 0),
        "releases_answered_otherwise": (len(findings.wrong_releases), findings.releases, "lower", 0),
        "rebuild_largest_difference": (findings.rebuild_change, 1, "lower", TOLERANCE),
        "night_cpu_seconds": (base, len(entries), "lower", None),
        "night_cpu_seconds_per_new_adapter": (per_adapter, len(entries), "lower", None),
        "disk_megabytes_per_adapter": (growth(entries)[1] / MB, len(entries), "lower", None),
    }
    for name, (value, n, better, goal) in values.items():
        yield Headline(name=f"operation.{name}", value=value, n=n, better=better, goal=goal)
