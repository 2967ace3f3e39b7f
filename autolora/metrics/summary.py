"""metrics/summary.json: the headline numbers, one flat row per name, written by the commands that measure them.

metrics/details.json holds what describes these measurements: counts, and tables behind the headlines.
"""

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from autolora.metrics.numbers import rounded, to_json
from autolora.storage.files import read_json, write_atomic

PATH = Path("metrics", "summary.json")
DETAILS = Path("metrics", "details.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One headline number."""

    name: str
    """area.metric, e.g. `retrieval.theme_r_at_1_unseen`"""
    value: float
    low: float | None = None
    """lower bound of the 95 % interval; None if no interval applies"""
    high: float | None = None
    n: int
    """values that the number is a mean or median of"""
    better: Literal["higher", "lower"] = "higher"
    goal: float | None = None
    preset: str | None = None
    """preset of the model that is measured; None if no model is"""


def read_summary(root: Path) -> dict[str, dict[str, Any]]:
    """Return name -> row of metrics/summary.json; empty if the file does not exist."""
    return read_json(root / PATH) or {}


def read_details(root: Path) -> dict[str, dict[str, Any]]:
    """Return command -> content of metrics/details.json; empty if the file does not exist."""
    return read_json(root / DETAILS) or {}


def update(
    root: Path,
    command: str,
    day: datetime.date,
    headlines: Iterable[Headline],
    details: Mapping[str, Any] | None = None,
) -> None:
    """Replace all rows of `command` in metrics/summary.json by `headlines`, atomically, sorted by name.

    day: when they were measured. A row whose numbers do not change retains its date, so that repeating a
    measurement with the same result writes nothing. details: what describes the measurement, e.g. the number of
    queries, as JSON; it replaces that of `command` in metrics/details.json, which DVC does not compare.
    """
    stored = read_summary(root)
    rows = {name: row for name, row in stored.items() if row["command"] != command}
    for headline in headlines:
        row = rounded(asdict(headline)) | {"command": command}
        name, former = row.pop("name"), stored.get(headline.name, {})
        is_same = row == {key: value for key, value in former.items() if key != "date"}
        rows[name] = row | {"date": former["date"] if is_same else day.isoformat()}
    write_atomic(root / PATH, to_json(rows))
    if details is not None:
        write_atomic(root / DETAILS, to_json(read_details(root) | {command: rounded(dict(details))}))
