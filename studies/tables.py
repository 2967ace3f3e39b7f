"""Studies: experiments on fusion in one or more worlds, as tables of rows in a file of metrics/.

`python -m studies.paper` and `python -m studies.gates` write them. A file maps the name of a world to tables, and a
table to its rows; a row maps a score to its value, its 95 % interval, and its paired difference to another row. Both
bounds of an interval are null if there are too few cases for one (studies/crossed_bootstrap.py). Tables also say how
many different sets of adapters, objects, styles, adapters or prompts their cases have, and how much of each is unseen.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from autolora.storage.files import read_json
from autolora.wording import counted

MAIN_SCORES = ("all shown", "both shown", "VQAScore")
"""the first that a table has is the one by which its rows are compared"""
LOSSES = "losses"
"""name under which a file holds the losses of trainings, which are no table of rows"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number and the bounds of its 95 % interval, which are None if there are too few cases for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRow:
    """The scores of one row, which is compared by the main one."""

    name: str
    score: Interval
    reference: str | None
    """the row that it is compared with; None if it is not"""
    difference: Interval | None
    """paired, to the reference"""
    others: Mapping[str, Interval]
    """further scores"""


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
    different: Mapping[str, int] = field(default_factory=dict)
    """noun, such as object -> number of different ones; empty if the table does not say it"""
    per_case: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    """noun, such as adapters of the test split -> number of them in a case -> number of such cases"""
    rows: tuple[StudyRow, ...]
    """the highest score first"""

    @property
    def counts(self) -> str:
        """Return what the table was measured on, in words."""
        return counts_of(self.cases, self.images, self.different)

    @property
    def has_intervals(self) -> bool:
        """Return whether the score of each row has an interval."""
        return all(row.score.low is not None for row in self.rows)


Worlds = Mapping[str, Mapping[str, StudyTable]]
"""name of a world -> name of a table -> table"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """What a file holds."""

    worlds: Worlds
    problems: tuple[str, ...]
    """a message per table that cannot be read"""


def counts_of(cases: int, images: int, different: Mapping[str, int]) -> str:
    """Return how much a table was measured on, in words. images: per row; different: as in `StudyTable`."""
    numbers = [counted(number, f"different {noun}") for noun, number in different.items()]
    return ", ".join([counted(cases, "case"), f"{counted(images, 'image')} per row", *numbers])


def main_score(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the score by which rows are compared. rows: row -> score -> entry. Raises KeyError without one."""
    scores = {score for row in rows.values() for score in row}
    for score in MAIN_SCORES:
        if score in scores:
            return score
    raise KeyError(" or ".join(MAIN_SCORES))


def read_study(path: Path, command: str) -> Study:
    """Return the tables of each world in a file that a command has written; none if the file does not exist.

    A table of another layout is left out, and named in `problems`. Raises MissingArtifact if the file is not JSON.
    """
    worlds: dict[str, dict[str, StudyTable]] = {}
    problems = []
    for world, tables in (read_json(path) or {}).items():
        for name, table in tables.items() if isinstance(tables, dict) else [("", tables)]:
            try:
                if name != LOSSES:
                    worlds.setdefault(world, {})[name] = read_table(table)
            except ValueError as error:
                problems.append(
                    f"{path.name}: table {name!r} of {world} is left out, because it is not as `{command}` writes it "
                    f"({error}): run the command again"
                )
    return Study(
        worlds={world: tables for world, tables in worlds.items() if tables}, problems=tuple(problems)
    )


def read_table(table: Any) -> StudyTable:
    """Return a table by its JSON value. Raises ValueError if it has another layout."""
    if not isinstance(table, dict):
        raise ValueError(f"{str(table)[:50]!r} is not an object")
    rows = _field(table, "rows", dict)
    try:
        score = main_score(rows)
        read = [_row(row, score, scores) for row, scores in rows.items() if score in scores]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"rows: {error}") from error
    return StudyTable(
        title=_field(table, "title", str),
        day=date.fromisoformat(_field(table, "date", str)),
        score=score,
        cases=_field(table, "cases", int),
        images=_field(table, "images per row", int),
        different=_different(table),
        per_case=_per_case(table),
        rows=tuple(sorted(read, key=lambda row: (-row.score.value, row.name))),
    )


def _different(table: Mapping[str, Any]) -> dict[str, int]:
    """Return noun -> number; empty for a table without them, as those before 2026-11-28."""
    numbers = _field(table, "different", dict) if "different" in table else {}
    return {noun: _field(numbers, noun, int) for noun in numbers}


def _per_case(table: Mapping[str, Any]) -> dict[str, dict[int, int]]:
    """Return noun -> number in a case -> cases; empty for a table without them. Raises ValueError as `read_table`."""
    nouns = _field(table, "per case", dict) if "per case" in table else {}
    return {
        noun: {int(number): _field(numbers, number, int) for number in numbers}
        for noun, numbers in ((noun, _field(nouns, noun, dict)) for noun in nouns)
    }


def _field(table: Mapping[str, Any], field: str, kind: type) -> Any:
    value = table.get(field)
    if type(value) is not kind:
        raise ValueError(f"no valid {field!r}")
    return value


def _row(name: str, score: str, scores: Mapping[str, Mapping[str, Any]]) -> StudyRow:
    entry = scores[score]
    compared = "difference" in entry
    return StudyRow(
        name=name,
        score=_interval(entry),
        reference=str(entry["compared with"]) if compared else None,
        difference=_interval(entry["difference"]) if compared else None,
        others={other: _interval(value) for other, value in scores.items() if other != score},
    )


def _interval(entry: Mapping[str, Any]) -> Interval:
    """Return a number with its bounds.

    Raises KeyError, TypeError or ValueError if they are not numbers in order, or a number without bounds.
    """
    if entry["low"] is None and entry["high"] is None:
        return Interval(value=_number(entry["value"]), low=None, high=None)
    value, low, high = (_number(entry[name]) for name in ("value", "low", "high"))
    if low > high:
        raise ValueError(f"the interval from {low} to {high} is empty")
    return Interval(value=value, low=low, high=high)


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{str(value)[:50]!r} is not a number")
    return float(value)
