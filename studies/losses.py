"""The losses of the trainings of a study, as a table for all worlds."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Losses = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""gates -> seed -> `held_out` (step -> loss), `best_step`; `recipe` if it was chosen, `unseen` if it was measured"""
RECIPE, UNSEEN = "recipe", "unseen"


def loss_table(worlds: Mapping[str, Losses]) -> str:
    """Return world -> losses as Markdown: a row per gates, in which each cell has a number per seed.

    Columns in which no row has anything are left out.
    """
    rows = [
        {"world": world, "gates": gates} | _cells(list(by_seed.values()))
        for world, losses in worlds.items()
        for gates, by_seed in losses.items()
    ]
    heads = [head for head in rows[0] if any(row[head] for row in rows)]
    lines = [heads, ["---"] * len(heads), *([row[head] for head in heads] for row in rows)]
    return "\n".join(map(_line, lines))


def _cells(trainings: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return head -> cell of one row behind its name; gates that are not trained have no losses of a training."""
    trained = [row for row in trainings if row["held_out"]]
    curves = [{int(step): float(loss) for step, loss in row["held_out"].items()} for row in trained]
    columns: dict[str, Iterable[str]] = {
        "recipe": dict.fromkeys(row[RECIPE] for row in trained if RECIPE in row),
        "held-out loss at the start": (f"{curve[min(curve)]:.3f}" for curve in curves),
        "lowest": (f"{min(curve.values()):.3f}" for curve in curves),
        "after step": (str(row["best_step"]) for row in trained),
        "of steps": (str(max(curve)) for curve in curves),
        "Eq. 10 on unseen adapters": (f"{row[UNSEEN]:.3f}" for row in trainings if UNSEEN in row),
    }
    return {head: " ".join(cells) for head, cells in columns.items()}


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
