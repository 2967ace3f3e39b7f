"""The size of the pool and the recall over releases, as the points of a drawing."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolora.report.history import Release

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 200, 44, 26, 14


@dataclass(frozen=True, slots=True)
class Point:
    """One release in the drawing."""

    x: float
    y: float
    low: float
    """y of the lower end of the interval; that of the value without one"""
    high: float
    label: str
    """as a tooltip"""


@dataclass(frozen=True, slots=True)
class Chart:
    """One line over releases."""

    title: str
    points: list[Point]
    ticks: list[tuple[float, str]]
    """(y, label) of lines across the drawing"""
    first: str
    """label of the left end"""
    last: str

    @property
    def line(self) -> str:
        """Return the points as the attribute `points` of a polyline."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


def size_chart(releases: Sequence[Release]) -> Chart:
    """Return the number of adapters over releases, the oldest first."""
    top = _round_up(max(release.adapters for release in releases))
    values = [
        (release, release.adapters / top, None, f"{release.adapters:,} adapters") for release in releases
    ]
    return _chart("Adapters in the index", values, [(0, "0"), (0.5, f"{top // 2:,}"), (1, f"{top:,}")])


def recall_chart(releases: Sequence[Release]) -> Chart | None:
    """Return the recall over the releases that were measured, with intervals; None if none was."""
    values = [
        (
            release,
            recall.value,
            (recall.low, recall.high),
            f"recall {recall.value:.2f} ({recall.low:.2f}–{recall.high:.2f})",
        )
        for release in releases
        if (recall := release.recall) is not None
    ]
    if not values:
        return None
    return _chart("Searches whose first hit is right", values, [(0, "0 %"), (0.5, "50 %"), (1, "100 %")])


Values = Sequence[tuple[Release, float, tuple[float, float] | None, str]]
"""release, its value from 0 to 1, the interval of the value, words"""


def _chart(title: str, values: Values, ticks: Sequence[tuple[float, str]]) -> Chart:
    pitch = (WIDTH - LEFT - 16) / max(len(values) - 1, 1)
    points = [
        Point(
            x=LEFT + pitch * number if len(values) > 1 else WIDTH / 2,
            y=_y(value),
            low=_y(interval[0] if interval else value),
            high=_y(interval[1] if interval else value),
            label=f"{release.commit.date[:10]}: {words}",
        )
        for number, (release, value, interval, words) in enumerate(values)
    ]
    days = [release.commit.date[:10] for release, *_ in values]
    return Chart(title, points, [(_y(value), label) for value, label in ticks], days[0], days[-1])


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - BOTTOM - TOP)


def _round_up(count: int) -> int:
    """Return the next number of one leading digit and zeros, or 1."""
    step = int(f"1{'0' * (len(str(count)) - 1)}")
    return max(-(-count // step) * step, 1)
