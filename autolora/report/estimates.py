"""Numbers with intervals as figures: whatever tables of estimates a stage has left in its half of the report.

A table maps a method to its metrics, and a metric to {"value", "low", "high", "n", "clusters"}. Tables beside
each other (methods, and their differences) become one figure with a panel a metric.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.report.figures import place

OURS = "encoder"
CHANCE = ("random", "chance")
"""methods that are no method: what chance would give"""
FLOOR = "base"
"""the method that adapts nothing"""
NOTHING = 0.0005
"""an interval this near to zero touches it"""
Table = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One estimate in a panel, and where it lies on the panel's axis, in percent."""

    name: str
    value: float
    low: float
    high: float
    n: int | None
    clusters: int | None
    at: float
    start: float
    stop: float
    sense: str
    """for differences: better or worse than nothing; empty where the interval holds zero"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Lines on one axis: methods, or differences of methods."""

    name: str
    differences: bool
    lines: tuple[Line, ...]
    low: float
    high: float
    mark: float | None
    """where chance, or the untouched base, or zero lies, in percent"""
    marked: str
    """what the mark is"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One metric of a figure."""

    metric: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """One figure: all metrics of tables that lie beside each other."""

    path: tuple[str, ...]
    """where in the half of the report the tables lie"""
    panels: tuple[Panel, ...]
    counts: tuple[int, int] | None
    """n and clusters where all lines share them"""


def draw(
    report: Mapping[str, Any], methods: Sequence[str] = (), metrics: Sequence[str] = ()
) -> list[Drawing]:
    """Return a figure for every group of tables in a half of the report.

    methods, metrics: what comes first, in this order.
    """
    figures: dict[tuple[str, ...], dict[str, Table]] = {}
    for path, table in find_tables(report):
        figures.setdefault(path[:-1], {})[path[-1] if path else ""] = table
    order = sorted(figures, key=place)
    return [_drawing(path, figures[path], methods, metrics) for path in order]


def find_tables(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Table]]:
    """Yield every table of estimates in a JSON value with the keys that lead to it."""
    if not isinstance(value, dict):
        return
    rows = {name: _estimates(row) for name, row in value.items()}
    table = {name: row for name, row in rows.items() if row}
    if table:
        yield path, table
    for name, item in value.items():
        if name not in table:
            yield from find_tables(item, (*path, name))


def is_estimate(value: Any) -> bool:
    """Return whether a JSON value is a number with its interval."""
    return isinstance(value, dict) and all(
        isinstance(value.get(name), int | float) and not isinstance(value.get(name), bool)
        for name in ("value", "low", "high")
    )


def _estimates(row: Any) -> dict[str, Mapping[str, Any]]:
    return {name: item for name, item in row.items() if is_estimate(item)} if isinstance(row, dict) else {}


def _drawing(
    path: tuple[str, ...], tables: Mapping[str, Table], methods: Sequence[str], metrics: Sequence[str]
) -> Drawing:
    found = {metric for table in tables.values() for row in table.values() for metric in row}
    order = sorted(found, key=lambda metric: (_rank(metric, metrics), metric))
    ordered = sorted(tables, key=lambda name: (_differences(name), name))
    panels = tuple(
        Panel(
            metric=metric,
            blocks=tuple(block for name in ordered if (block := _block(name, tables[name], metric, methods))),
        )
        for metric in order
    )
    return Drawing(path=path, panels=panels, counts=_counts(panels))


def _block(name: str, table: Table, metric: str, methods: Sequence[str]) -> Block | None:
    """Return a table's lines for one metric; None where no method has it."""
    rows = {method: row[metric] for method, row in table.items() if metric in row}
    if not rows:
        return None
    differences = _differences(name)
    low, high = _axis(rows.values(), differences)
    order = sorted(rows, key=lambda method: _order(method, methods))
    prefix = f"{name.removesuffix(' minus')} − " if name.endswith(" minus") else ""
    marked, at = ("zero", 0.0) if differences else _reference(rows)
    return Block(
        name=name,
        differences=differences,
        lines=tuple(_line(prefix + method, rows[method], low, high, differences) for method in order),
        low=low,
        high=high,
        mark=None if at is None else _percent(at, low, high),
        marked=marked,
    )


def _line(name: str, row: Mapping[str, Any], low: float, high: float, differences: bool) -> Line:
    better, worse = row["low"] >= NOTHING, row["high"] <= -NOTHING
    return Line(
        name=name,
        value=row["value"],
        low=row["low"],
        high=row["high"],
        n=row.get("n"),
        clusters=row.get("clusters"),
        at=_percent(row["value"], low, high),
        start=_percent(row["low"], low, high),
        stop=_percent(row["high"], low, high),
        sense=("better" if better else "worse" if worse else "") if differences else "",
    )


def _axis(rows: Any, differences: bool) -> tuple[float, float]:
    """Return the ends of an axis: 0 to 1 where it fits, else what holds all intervals and, for differences, 0."""
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    if differences:
        reach = max(abs(low), abs(high)) or 1.0
        return -reach, reach
    if low >= 0 and 0.3 < high <= 1:
        return 0.0, 1.0
    pad = (high - low) * 0.05 or 0.5
    return low - pad, high + pad


def _reference(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, float | None]:
    for name in (*CHANCE, FLOOR):
        if name in rows:
            return ("chance" if name in CHANCE else name), rows[name]["value"]
    told = {row["chance"] for row in rows.values() if isinstance(row.get("chance"), int | float)}
    return ("chance", told.pop()) if len(told) == 1 else ("", None)


def _order(method: str, methods: Sequence[str]) -> tuple[Any, ...]:
    return _rank(method, methods), method != OURS, method in CHANCE, method


def _rank(name: str, first: Sequence[str]) -> int:
    return list(first).index(name) if name in first else len(first)


def _differences(name: str) -> bool:
    return name.endswith("minus") or "difference" in name


def _percent(value: float, low: float, high: float) -> float:
    return round(100 * min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0), 2)


def _counts(panels: Sequence[Panel]) -> tuple[int, int] | None:
    found = {(line.n, line.clusters) for panel in panels for block in panel.blocks for line in block.lines}
    n, clusters = found.pop() if len(found) == 1 else (None, None)
    return None if n is None or clusters is None else (n, clusters)
