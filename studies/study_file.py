"""The tables of a study on fusion, as a file of metrics/, as Markdown, and as rows of metrics/details.json.

The file maps the name of a world to tables, and a table to its rows; a row maps a score to its value, its 95 %
interval, and its paired difference to another row. Both bounds of an interval are null if there are too few cases for
one (studies/crossed_bootstrap.py).
"""

import datetime
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autolora.metrics.numbers import rounded
from autolora.metrics.summary import Headline, update
from autolora.storage.files import read_json, write_atomic
from autolora.wording import counted
from studies.crossed_bootstrap import MIN_CASES

MAIN_SCORES = ("all shown", "both shown", "VQAScore")
"""the first that a table has is the one by which its rows are compared"""
LOSSES = "losses"
"""name under which a file holds the losses of trainings, which are no table of rows"""
Write = Literal["none", "larger", "all"]
"""which tables are written: none; those that hold as much as the ones that they replace; all of them"""
NO_INTERVALS = f"No intervals: fewer than {MIN_CASES} cases, or a single object, style or adapter."
Table = dict[str, Any]
"""title, cases, images per row, rows (row -> score -> entry), and what studies/case_counts.py adds"""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyFile:
    """The tables of one world in a file of a repository."""

    root: Path
    path: Path
    """in the repository"""
    command: str
    world: str
    """name under which the tables are filed"""
    write: Write = "larger"
    order: tuple[str, ...] = ()
    """of the tables in the file, in which the report has them; others come after them"""

    def tables(self) -> dict[str, Any]:
        """Return name -> table of the world, without those of another layout."""
        stored = _object((read_json(self.root / self.path) or {}).get(self.world))
        return {name: table for name, table in stored.items() if extent(name, table)}

    def remind(self) -> None:
        """Print how to write the tables, if they are not written."""
        if self.write == "none":
            path = self.path.as_posix()
            print(
                f"Nothing is written. `--write larger` writes these tables to {path}, except over larger ones."
            )

    def store(self, name: str, table: Mapping[str, Any], day: datetime.date) -> bool:
        """Write a table and return True, or print why the one in the file is kept.

        day: when it was measured. A table whose numbers do not change retains its date.
        """
        if self.write == "none":
            return False
        stored = read_json(self.root / self.path) or {}
        tables = _object(stored.get(self.world))
        former, new = _object(tables.get(name)), rounded(dict(table))
        is_same = new == {key: value for key, value in former.items() if key != "date"}
        dated = new | {"date": former.get("date", day.isoformat()) if is_same else day.isoformat()}
        if self.write == "larger" and (reason := self._reason_to_keep(name, former, dated)):
            print(f"{reason}\n", flush=True)
            return False
        ordered = self._ordered({**tables, name: dated})
        text = json.dumps({**stored, self.world: ordered}, indent=1, ensure_ascii=False)
        write_atomic(self.root / self.path, f"{text}\n")
        return True

    def _ordered(self, tables: Mapping[str, Any]) -> dict[str, Any]:
        positions = {name: position for position, name in enumerate(self.order)}
        return dict(sorted(tables.items(), key=lambda item: positions.get(item[0], len(positions))))

    def _reason_to_keep(self, name: str, former: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        """Return why a table is kept; empty if it does not hold more than the new one in any respect."""
        before, after = extent(name, former), extent(name, new)
        if all(number <= after.get(noun, 0) for noun, number in before.items()):
            return ""
        held, measured = (
            ", ".join(counted(n, *noun) for noun, n in each.items()) for each in (before, after)
        )
        return (
            f"Not written: table {name!r} of {self.world} in {self.path.as_posix()} has {held}, this one has "
            f"{measured}. The same command with `--write all` replaces it, and draws nothing again; another "
            "`--name` keeps both."
        )

    def summarize(self, area: str, preset: str, day: datetime.date) -> None:
        """Write the rows of metrics/details.json. area: first part of the rows' names after `fusion.`"""
        if self.write == "none":
            return
        tables = {name: table for name, table in self.tables().items() if name != LOSSES}
        rows = [row for name, table in tables.items() for row in headlines(f"{area} {name}", table, preset)]
        update(self.root, self.command, day, rows)


def extent(name: str, table: Any) -> dict[tuple[str, str], int]:
    """Return how much a table holds, by the noun for what is counted (singular, plural); empty with another layout."""
    try:
        if name == LOSSES:
            return {("training", "trainings"): sum(map(len, table["gates"].values()))}
        if not {"title", "date"} <= table.keys():
            return {}
        rows = table["rows"]
        score = main_score(rows)
        entries = [entry for row in rows.values() for entry in row.items()]
        return {
            ("case", "cases"): int(table["cases"]),
            ("image per row", "images per row"): int(table["images per row"]),
            ("row", "rows"): sum(score in scores for scores in rows.values()),
            ("score", "scores"): len({score for score, _ in entries}),
            ("run", "runs"): max(len(entry.get("runs", ())) for _, entry in entries),
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {}


def main_score(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the score by which rows are compared. rows: row -> score -> entry. Raises KeyError without one."""
    scores = {score for row in rows.values() for score in row}
    for score in MAIN_SCORES:
        if score in scores:
            return score
    raise KeyError(" or ".join(MAIN_SCORES))


def _object(value: Any) -> dict[str, Any]:
    """Return a JSON object; an empty one in place of another value, which a file of another layout may have."""
    return value if isinstance(value, dict) else {}


def headlines(name: str, table: Mapping[str, Any], preset: str) -> Iterable[Headline]:
    """Yield rows of metrics/details.json: the best row of a table, and those that others are compared with.

    Their names are e.g. fusion.paper_3_all_shown_dare. The file of the study has all rows.
    """
    score = main_score(table["rows"])
    entries = {row: scores[score] for row, scores in table["rows"].items() if score in scores}
    best = max(entries, key=lambda row: float(entries[row]["value"]))
    references = {entry.get("compared with") for entry in entries.values()}
    for row, entry in entries.items():
        if row == best or row in references:
            slug = "_".join(re.findall(r"[\w.]+", f"{name} {score} {row}".lower()))
            numbers = {field: entry[field] for field in ("value", "low", "high")}
            yield Headline(name=f"fusion.{slug}", n=table["images per row"], preset=preset, **numbers)


def to_markdown(table: Mapping[str, Any]) -> str:
    """Return a table as Markdown: a line per row. Columns in which no row has anything are left out."""
    rows: Mapping[str, Mapping[str, Any]] = table["rows"]
    main, scores = main_score(rows), list(dict.fromkeys(score for row in rows.values() for score in row))
    columns = {
        score: [format_interval(row[score]) if score in row else "" for row in rows.values()]
        for score in scores
    }
    entries = [row.get(main, {}) for row in rows.values()]
    columns |= {
        f"{main}, difference": [_difference(entry) for entry in entries],
        f"{main}, by run": [_by_run(entry) for entry in entries],
        "images won, tied, lost": [_rates(entry) for entry in entries],
    }
    filled = {head: cells for head, cells in columns.items() if any(cells)}
    lines = [["row", *filled], ["---"] * (len(filled) + 1), *zip(rows, *filled.values(), strict=True)]
    different = [counted(number, f"different {noun}") for noun, number in table.get("different", {}).items()]
    images = f"{counted(table['images per row'], 'image')} per row"
    counts = f"{', '.join([counted(table['cases'], 'case'), images, *different])}."
    if any(entry.get("low", 0) is None for entry in entries):
        counts += f" {NO_INTERVALS}"
    return "\n".join([f"## {table['title']}", "", counts, "", *map(_line, lines)])


def loss_table(losses: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the losses of trainings as Markdown: a row per gates, in which each cell has a number per seed.

    losses: gates -> seed -> `held_out` (step -> loss; empty if no loss was measured), `best_step`.
    """
    heads = ["gates", "held-out loss at the start", "lowest", "after step", "of steps"]
    lines = [heads, ["---"] * len(heads)]
    for gates, by_seed in losses.items():
        trainings = [row for row in by_seed.values() if row["held_out"]]
        curves = [{int(step): float(loss) for step, loss in row["held_out"].items()} for row in trainings]
        columns: list[Iterable[str]] = [
            (f"{curve[min(curve)]:.3f}" for curve in curves),
            (f"{min(curve.values()):.3f}" for curve in curves),
            (str(row["best_step"]) for row in trainings),
            (str(max(curve)) for curve in curves),
        ]
        lines.append([gates, *map(" ".join, columns)])
    return "\n".join(map(_line, lines))


def format_interval(entry: Mapping[str, float | None], sign: str = "") -> str:
    """Return a number with its interval, if it has one, e.g. 0.50 [0.25, 0.75]."""
    numbers = [entry[name] for name in ("value", "low", "high")]
    value, *bounds = (f"{number:{sign}.2f}" for number in numbers if number is not None)
    return (f"{value} [{', '.join(bounds)}]" if bounds else value).replace("-", "−")


def _difference(entry: Mapping[str, Any]) -> str:
    return format_interval(entry["difference"], "+") if "difference" in entry else ""


def _by_run(entry: Mapping[str, Any]) -> str:
    runs: Sequence[float] = entry.get("runs", ())
    return " ".join(f"{value:.2f}" for value in runs) if len(runs) > 1 else ""


def _rates(entry: Mapping[str, Any]) -> str:
    rates = entry.get("images")
    return " / ".join(f"{rates[name]:.2f}" for name in ("wins", "ties", "losses")) if rates else ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
