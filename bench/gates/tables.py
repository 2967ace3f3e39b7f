"""Tables of the study: both shown with intervals by objects and styles, and the losses as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolora.experiments.cases import KINDS, PromptCase
from autolora.metrics.crossed_bootstrap import estimate
from autolora.storage.arrays import Float64Array
from bench.study import Table

SCORE = "both shown"


def make_table(
    title: str,
    shown: Mapping[str, Float64Array],
    cases: Sequence[PromptCase],
    images: int,
    baseline: str | None = None,
) -> Table:
    """Return the table of a situation, or of the choice of the recipes.

    shown: row -> share of a pair's images that show both, (seeds of the gates, C). images: per pair, and per seed of
    the gates. baseline: the row that the others are compared with.
    """
    rows = compare(shown, cases, baseline)
    return {"title": title, "cases": len(cases), "images per row": images * len(cases), "rows": rows}


def compare(
    shown: Mapping[str, Float64Array], cases: Sequence[PromptCase], baseline: str | None
) -> dict[str, Any]:
    """Return row -> both shown, and its paired difference to the baseline. shown: as in `make_table`."""
    groups = [tuple(zip(KINDS, case.adapters, strict=True)) for case in cases]
    rows: dict[str, Any] = {}
    for name, values in shown.items():
        entry: dict[str, Any] = {**estimate(values.mean(0), groups), "runs": values.mean(1).tolist()}
        if baseline is not None and name != baseline:
            difference = values.mean(0) - shown[baseline].mean(0)
            entry |= {"compared with": baseline, "difference": estimate(difference, groups)}
        rows[name] = {SCORE: entry}
    return rows


def loss_table(losses: Mapping[str, Any]) -> str:
    """Return the losses as Markdown: a line per cell and seed."""
    lines = [
        "## Losses",
        "",
        "| gates | seed | held-out loss, at the start | lowest | after step | last | Eq. 10 on unseen adapters |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell, by_seed in losses.items():
        for seed, facts in by_seed.items():
            curve = list(facts["held_out"].values())
            numbers = [f"{value:.4f}" for value in (curve[0], min(curve), curve[-1])] if curve else [""] * 3
            step = str(facts["best_step"]) if curve else ""
            cells = [cell, seed, numbers[0], numbers[1], step, numbers[2], f"{facts['unseen']:.4f}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
