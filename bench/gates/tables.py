"""Tables of the study: intervals by objects and styles, and Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolora.experiments.cases import KINDS, PromptCase
from autolora.metrics.crossed_bootstrap import case_weights, estimate
from autolora.storage.arrays import Float64Array

Row = dict[str, Any]


def compare(shown: Mapping[str, Float64Array], cases: Sequence[PromptCase], baseline: str) -> dict[str, Row]:
    """Return method -> both shown, and its difference to the baseline, paired.

    shown: method -> share of a pair's images that show both, (seeds of the gates, C).
    """
    weights = case_weights([tuple(zip(KINDS, case.adapters, strict=True)) for case in cases])
    rows: dict[str, Row] = {}
    for method, values in shown.items():
        rows[method] = {**estimate(values.mean(0), weights), "by_seed": values.mean(1).tolist()}
        if method != baseline:
            rows[method]["difference"] = estimate(values.mean(0) - shown[baseline].mean(0), weights)
    return rows


def situation_table(title: str, table: Mapping[str, Any]) -> str:
    """Return a situation as Markdown: a line per method."""
    lines = [
        f"### {title}: {table['pairs']} pairs, {table['images']} images each",
        "",
        "| method | both shown | by seed of the gates | less the masked sum |",
        "|---|---|---|---|",
    ]
    for method, row in table["methods"].items():
        by_seed = " ".join(f"{value:.2f}" for value in row["by_seed"]) if len(row["by_seed"]) > 1 else ""
        difference = _cell(row["difference"], "+") if "difference" in row else ""
        lines.append(f"| {method} | {_cell(row)} | {by_seed} | {difference} |")
    return "\n".join(lines) + "\n"


def choice_table(choice: Mapping[str, Any]) -> str:
    """Return the choice of the recipes as Markdown: a line per cell and recipe, the chosen ones marked."""
    lines = ["### Choice of the recipes", "", "| gates | recipe | both shown | |", "|---|---|---|---|"]
    for cell, rows in choice.items():
        for recipe, value in rows["recipes"].items():
            lines.append(
                f"| {cell} | {recipe} | {value:.2f} | {'chosen' if recipe == rows['chosen'] else ''} |"
            )
    return "\n".join(lines) + "\n"


def loss_table(losses: Mapping[str, Any]) -> str:
    """Return the losses as Markdown: a line per cell and seed."""
    lines = [
        "### Losses",
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
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, float], sign: str = "") -> str:
    return f"{row['value']:{sign}.2f} [{row['low']:{sign}.2f}, {row['high']:{sign}.2f}]".replace("-", "−")
