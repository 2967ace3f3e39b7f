"""A number over a count or over time with its intervals, as points of an SVG."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One number, in the units of the SVG."""

    x: float
    y: float
    low_y: float
    high_y: float
    """ends of the interval; equal to y without one"""
    label: str
    """what the number belongs to, e.g. a day"""
    text: str
    """label and number"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """Points from left to right."""

    title: str
    first: str
    last: str
    """the numbers of the first and the last point"""
    points: tuple[Point, ...]

    @property
    def line(self) -> str:
        """Return the points of the line."""
        return _join((point.x, point.y) for point in self.points)

    @property
    def band(self) -> str:
        """Return the points of the intervals' outline."""
        upper = [(point.x, point.high_y) for point in self.points]
        return _join([*upper, *((point.x, point.low_y) for point in reversed(self.points))])


def _join(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
