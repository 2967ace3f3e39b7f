"""Charts of numbers with intervals, from every table of estimates in the report part of a stage.

A table maps a method to its metrics, and a metric to {"value", "low", "high", "n", "clusters"}. Tables next to each
other (methods, and their differences) become one chart with a panel per metric.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.report.chart_text import sort_key
from autolora.report.decimals import printed

FIRST_METHOD = "encoder"
CHANCE = ("random", "chance")
"""rows that show chance level"""
BASE = "base"
"""the method without adapters"""

Table = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One estimate in a panel, and its position on the panel's axis in percent."""

    name: str
    value: float
    low: float | None
    high: float | None
    """None without an interval"""
    n: int | None
    clusters: int | None
    value_at: float
    low_at: float
    high_at: float
    verdict: str
    """of a difference: better or worse; empty if the interval, as it is printed, includes zero, or there is none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """Lines on one axis: methods, or differences of methods."""

    is_difference: bool
    lines: tuple[Line, ...]
    low: float
    high: float
    """ends of the axis"""
    reference_at: float | None
    """position of chance, the base, or zero, in percent"""
    reference: str
    """chance, base or zero; empty without one"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One metric of a chart."""

    metric: str
    plots: tuple[Plot, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """All metrics of tables next to each other."""

    path: tuple[str, ...]
    """keys that lead to the tables in the report part"""
    panels: tuple[Panel, ...]
    counts: tuple[int, int] | None
    """n and clusters if all lines share them"""


def make_charts(
    report: Mapping[str, Any], methods: Sequence[str] = (), metrics: Sequence[str] = ()
) -> list[Chart]:
    """Return a chart for every group of tables in a report part.

    methods, metrics: those that come first, in this order.
    """
    groups: dict[tuple[str, ...], dict[str, Table]] = {}
    for path, table in find_tables(report):
        groups.setdefault(path[:-1], {})[path[-1] if path else ""] = table
    return [_chart(path, groups[path], methods, metrics) for path in sorted(groups, key=sort_key)]


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


def _chart(
    path: tuple[str, ...], tables: Mapping[str, Table], methods: Sequence[str], metrics: Sequence[str]
) -> Chart:
    names = {metric for table in tables.values() for row in table.values() for metric in row}
    order = sorted(tables, key=lambda name: (_is_difference(name), name))
    panels = []
    for metric in sorted(names, key=lambda metric: (_rank(metric, metrics), metric)):
        plots = (make_plot(tables[name], metric, methods, _is_difference(name)) for name in order)
        panels.append(Panel(metric=metric, plots=tuple(plot for plot in plots if plot)))
    return Chart(path=path, panels=tuple(panels), counts=_shared_counts(panels))


def make_plot(table: Table, metric: str, methods: Sequence[str], is_difference: bool) -> Plot | None:
    """Return a table's lines for one metric; None if no method has it.

    methods: those that come first, in this order.
    """
    rows = {method: row[metric] for method, row in table.items() if metric in row}
    if not rows:
        return None
    low, high = _axis(rows.values(), is_difference)
    reference, value = ("zero", 0.0) if is_difference else _reference(rows)
    order = sorted(rows, key=lambda method: _method_key(method, methods))
    return Plot(
        is_difference=is_difference,
        lines=tuple(_line(method, rows[method], low, high, is_difference) for method in order),
        low=low,
        high=high,
        reference_at=None if value is None else _percent(value, low, high),
        reference=reference,
    )


def _line(name: str, row: Mapping[str, Any], low: float, high: float, is_difference: bool) -> Line:
    first, last = _bounds(row)
    has_verdict = is_difference and row["low"] is not None
    better, worse = printed(first) > 0, printed(last) < 0
    return Line(
        name=name,
        value=row["value"],
        low=row["low"],
        high=row["high"],
        n=row.get("n"),
        clusters=row.get("clusters"),
        value_at=_percent(row["value"], low, high),
        low_at=_percent(first, low, high),
        high_at=_percent(last, low, high),
        verdict=("better" if better else "worse" if worse else "") if has_verdict else "",
    )


def _bounds(row: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ends of the bar of an estimate: both are the value if there is no interval."""
    return (row["value"], row["value"]) if row["low"] is None else (row["low"], row["high"])


def _axis(rows: Iterable[Mapping[str, Any]], is_difference: bool) -> tuple[float, float]:
    """Return the ends of an axis: symmetric for differences; else 0 to 1 if it suits, or what holds all intervals.

    An axis of shares, numbers from 0 to 1, does not leave that range.
    """
    bounds = [_bounds(row) for row in rows]
    low, high = min(low for low, _ in bounds), max(high for _, high in bounds)
    if is_difference:
        reach = max(abs(low), abs(high)) or 1.0
        return -reach, reach
    if low >= 0 and 0.3 < high <= 1:
        return 0.0, 1.0
    padding = (high - low) * 0.05 or 1.0
    if low >= 0 and high <= 1:
        return max(low - padding, 0.0), min(high + padding, 1.0)
    return low - padding, high + padding


def _reference(rows: Mapping[str, Mapping[str, Any]]) -> tuple[str, float | None]:
    """Return the reference that the methods' values are read against, by name and value."""
    for name in (*CHANCE, BASE):
        if name in rows:
            return ("chance" if name in CHANCE else name), rows[name]["value"]
    levels = {row["chance"] for row in rows.values() if isinstance(row.get("chance"), int | float)}
    return ("chance", levels.pop()) if len(levels) == 1 else ("", None)


def _method_key(method: str, methods: Sequence[str]) -> tuple[Any, ...]:
    return _rank(method, methods), method != FIRST_METHOD, method in CHANCE, method


def _rank(name: str, first: Sequence[str]) -> int:
    return list(first).index(name) if name in first else len(first)


def _is_difference(table: str) -> bool:
    return "difference" in table


def _percent(value: float, low: float, high: float) -> float:
    return round(100 * min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0), 2)


def _shared_counts(panels: Sequence[Panel]) -> tuple[int, int] | None:
    counts = {(line.n, line.clusters) for panel in panels for plot in panel.plots for line in plot.lines}
    n, clusters = counts.pop() if len(counts) == 1 else (None, None)
    return None if n is None or clusters is None else (n, clusters)
