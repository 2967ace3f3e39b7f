"""Paths and reader of the report part that the stage `experiments` leaves on disk."""

from pathlib import Path
from typing import Any

from autolora.storage.files import read_json


def folder(root: Path) -> Path:
    """Return the folder of the stage's output."""
    return root / "data" / "experiments"


def report_path(root: Path) -> Path:
    """Return the path of report.json: the numbers, prompt cases, and the inputs of the experiment."""
    return folder(root) / "report.json"


def metrics_path(root: Path) -> Path:
    """Return the path of metrics/experiments.json: the numbers of the report."""
    return root / "metrics" / "experiments.json"


def read_report(root: Path) -> dict[str, Any] | None:
    """Return the content of report.json; None if the stage has not run yet."""
    return read_json(report_path(root))
