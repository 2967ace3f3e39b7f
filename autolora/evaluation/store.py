"""Paths and readers of the numbers that the stage `evaluation` leaves on disk."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.storage.files import read_json

SEARCH = "search"
"""method whose recall is that of a release: what users get"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """The share of searches whose first hit is right."""

    value: float
    low: float
    high: float
    """ends of the 95 % interval"""
    chance: float | None
    queries: int
    level: str
    """theme: a hit of the requested theme is right; adapter: only the described adapter is"""


def folder(root: Path) -> Path:
    """Return the folder of the stage's output."""
    return root / "data" / "evaluation"


def report_path(root: Path) -> Path:
    """Return the path of report.json: the numbers, and the inputs that were evaluated."""
    return folder(root) / "report.json"


def metrics_path(root: Path) -> Path:
    """Return the path of metrics/evaluation.json: the numbers of the report."""
    return root / "metrics" / "evaluation.json"


def read_report(root: Path) -> dict[str, Any] | None:
    """Return the content of report.json; None if the stage has not run yet."""
    return read_json(report_path(root))


def recall_of(numbers: Mapping[str, Any], method: str = SEARCH) -> Recall | None:
    """Return the recall of a method in the numbers of an evaluation.

    It is by theme if themes are judged, else by adapter; None if nothing was measured.
    """
    for level in ("theme", "adapter"):
        rows = numbers.get("levels", {}).get(level, {}).get("methods", {})
        if row := rows.get(method, {}).get("R@1"):
            return Recall(
                **{field: row[field] for field in ("value", "low", "high")},
                chance=rows.get("random", {}).get("R@1", {}).get("value"),
                queries=row["n"],
                level=level,
            )
    return None
