"""Studies: experiments on fusion in one or more worlds, as tables of rows in a file of metrics/.

`python -m bench.paper` and `python -m bench.gates` write them. A file maps the name of a world to tables, and a table
to its rows; a row maps a score to its value, its 95 % interval, and its paired difference to another row.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from autolora.errors import MismatchError
from autolora.storage.files import read_json

MAIN_SCORES = ("all shown", "both shown", "VQAScore")
"""the first that a table has is the one by which its rows are compared"""
LOSSES = "losses"
"""name under which a file holds the losses of trainings, which are no table of rows"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number and the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRow:
    """The main score of one row."""

    name: str
    score: Interval
    reference: str | None
    """the row that it is compared with; None if it is not"""
    difference: Interval | None
    """paired, to the reference"""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTable:
    """A table of a study by its main score."""

    title: str
    day: date
    """when it was measured"""
    score: str
    cases: int
    images: int
    """per row"""
    rows: tuple[StudyRow, ...]
    """the highest score first"""


Worlds = Mapping[str, Mapping[str, StudyTable]]
"""name of a world -> name of a table -> table"""


def main_score(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the score by which rows are compared. rows: row -> score -> entry. Raises KeyError without one."""
    scores = {score for row in rows.values() for score in row}
    for score in MAIN_SCORES:
        if score in scores:
            return score
    raise KeyError(" or ".join(MAIN_SCORES))


def read_study(path: Path, command: str) -> Worlds:
    """Return the tables of each world in a file that a command has written; none if the file does not exist.

    Raises MissingArtifact if it is not JSON, MismatchError if it has another layout.
    """
    stored = read_json(path) or {}
    try:
        return {
            world: {name: _table(name, table) for name, table in tables.items() if name != LOSSES}
            for world, tables in stored.items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MismatchError(
            f"{path.name} does not hold tables as `{command}` writes them ({error}): run the command again"
        ) from error


def _table(name: str, table: Mapping[str, Any]) -> StudyTable:
    rows = _field(name, table, "rows", dict)
    try:
        score = main_score(rows)
        read = [_row(row, scores[score]) for row, scores in rows.items() if score in scores]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"rows of table {name!r}: {error}") from error
    return StudyTable(
        title=_field(name, table, "title", str),
        day=date.fromisoformat(_field(name, table, "date", str)),
        score=score,
        cases=_field(name, table, "cases", int),
        images=_field(name, table, "images per row", int),
        rows=tuple(sorted(read, key=lambda row: (-row.score.value, row.name))),
    )


def _field(name: str, table: Mapping[str, Any], field: str, kind: type) -> Any:
    value = table.get(field)
    if type(value) is not kind:
        raise TypeError(f"table {name!r} has no valid {field!r}")
    return value


def _row(name: str, entry: Mapping[str, Any]) -> StudyRow:
    compared = "difference" in entry
    return StudyRow(
        name=name,
        score=_interval(entry),
        reference=str(entry["compared with"]) if compared else None,
        difference=_interval(entry["difference"]) if compared else None,
    )


def _interval(entry: Mapping[str, Any]) -> Interval:
    """Return a number with its bounds. Raises KeyError, TypeError or ValueError if they are not numbers in order."""
    value, low, high = _numbers(entry[name] for name in ("value", "low", "high"))
    if low > high:
        raise ValueError(f"the interval from {low} to {high} is empty")
    return Interval(value=value, low=low, high=high)


def _numbers(values: Iterable[Any]) -> list[float]:
    numbers = list(values)
    for number in numbers:
        if type(number) not in (int, float) or not math.isfinite(number):
            raise TypeError(f"{str(number)[:50]!r} is not a number")
    return [float(number) for number in numbers]
