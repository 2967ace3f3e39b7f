"""Paths and reader of the report part that the stage `experiments` leaves on disk."""

import json
from pathlib import Path
from typing import Any


def folder(root: Path) -> Path:
    """Return the folder of the stage's output."""
    return root / "data" / "experiments"


def report_path(root: Path) -> Path:
    """Return the path of report.json: tables, prompt cases, and the inputs of the experiment."""
    return folder(root) / "report.json"


def metrics_path(root: Path) -> Path:
    """Return the path of metrics/experiments.json: the numbers of the report."""
    return root / "metrics" / "experiments.json"


def read_report(root: Path) -> dict[str, Any] | None:
    """Return the content of report.json; None if the stage has not run yet."""
    path = report_path(root)
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
