"""Scores by the number of loaded adapters, as curves, if the rows of a table are `<way>, <number> loaded`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autolora.metrics.study import Interval, StudyRow, StudyTable
from autolora.report.curve import Curve, Point

WIDTH, HEIGHT = 600.0, 260.0
"""of the SVG, in its own units"""
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 12.0, 46.0
"""margins"""
LOADED = re.compile(r"(?P<way>.+), (?P<loaded>[0-9]+) loaded")
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""of the scores, which are shares"""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyCurves:
    """A curve per way to let the loaded adapters act, on common axes."""

    score: str
    curves: tuple[Curve, ...]
    columns: tuple[tuple[float, int], ...]
    """(x, number of loaded adapters)"""
    ticks: tuple[tuple[float, float], ...]
    """(y, score)"""

    @property
    def text(self) -> str:
        """Return all numbers in words."""
        parts = (f"{curve.title}: {', '.join(point.text for point in curve.points)}" for curve in self.curves)
        return f"{self.score} by the number of loaded adapters. {'; '.join(parts)}."


def curves_of(table: StudyTable) -> StudyCurves | None:
    """Return the curves of a table; None if its rows are not numbers of loaded adapters, or all the same number."""
    ways: dict[str, dict[int, StudyRow]] = {}
    for row in table.rows:
        named = LOADED.fullmatch(row.name)
        if named is None:
            return None
        ways.setdefault(named["way"], {})[int(named["loaded"])] = row
    numbers = sorted({number for rows in ways.values() for number in rows})
    if len(numbers) < 2:
        return None
    return StudyCurves(
        score=table.score,
        curves=tuple(_curve(way, ways[way], numbers) for way in sorted(ways)),
        columns=tuple((_x(number, numbers), number) for number in numbers),
        ticks=tuple((_y(tick), tick) for tick in TICKS),
    )


def _curve(way: str, rows: dict[int, StudyRow], numbers: Sequence[int]) -> Curve:
    points = tuple(_point(number, rows[number].score, _x(number, numbers)) for number in sorted(rows))
    first, last = (f"{rows[number].score.value:.2f}" for number in (min(rows), max(rows)))
    return Curve(title=way, first=first, last=last, points=points)


def _point(number: int, score: Interval, x: float) -> Point:
    return Point(
        x=x,
        y=_y(score.value),
        low_y=_y(score.value if score.low is None else score.low),
        high_y=_y(score.value if score.high is None else score.high),
        label=str(number),
        text=f"{score.value:.2f} with {number}",
    )


def _x(number: int, numbers: Sequence[int]) -> float:
    share = (number - numbers[0]) / (numbers[-1] - numbers[0])
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def _y(score: float) -> float:
    return round(HEIGHT - BOTTOM - min(max(score, 0.0), 1.0) * (HEIGHT - TOP - BOTTOM), 1)
