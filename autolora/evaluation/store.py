"""Paths and reader of the report part that the stage `evaluation` leaves on disk."""

from pathlib import Path
from typing import Any

from autolora.storage.files import read_json


def folder(root: Path) -> Path:
    """Return the folder of the stage's output."""
    return root / "data" / "evaluation"


def report_path(root: Path) -> Path:
    """Return the path of report.json: the numbers, and the inputs that were evaluated."""
    return folder(root) / "report.json"


def metrics_path(root: Path) -> Path:
    """Return the path of metrics/evaluation.json: the numbers of the report."""
    return root / "metrics" / "evaluation.json"


def plots_folder(root: Path) -> Path:
    """Return the folder of the tables that `dvc plots` draws."""
    return root / "metrics" / "plots"


def read_report(root: Path) -> dict[str, Any] | None:
    """Return the content of report.json; None if the stage has not run yet."""
    return read_json(report_path(root))
