"""The size of the pool and its recall over the releases, as points of two small charts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from autolora.refresh.history import Release
from autolora.releases.tags import PREFIX
from autolora.report.headlines import percent

WIDTH, HEIGHT, PADDING = 600.0, 80.0, 8.0
"""of a chart, in the units of its SVG"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One number of a release, in the units of the SVG."""

    x: float
    y: float
    low_y: float
    high_y: float
    """ends of the interval; equal to y without one"""
    label: str
    """the day"""
    text: str
    """day and number"""


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


def trends(releases: Sequence[Release]) -> list[Curve]:
    """Return the charts of the numbers that at least two releases have; releases are evenly spaced.

    Releases without the tag of a refresh do not count: a clone has those of the people who wrote the repository.
    """
    releases = [release for release in releases if any(name.startswith(PREFIX) for name in release.tags)]
    sizes = {at: float(release.adapters) for at, release in enumerate(releases)}
    recalls = {at: release.recall for at, release in enumerate(releases) if release.recall}
    size = _trend(
        "adapters in the index", releases, {at: (value,) * 3 for at, value in sizes.items()},
        max(sizes.values(), default=1.0), "{:.0f}".format,
    )  # fmt: skip
    recall = _trend(
        "searches whose first hit is right", releases,
        {at: (row.value, row.low, row.high) for at, row in recalls.items()}, 1.0, percent,
    )  # fmt: skip
    return [trend for trend in (size, recall) if len(trend.points) > 1]


def _trend(
    title: str,
    releases: Sequence[Release],
    values: dict[int, tuple[float, float, float]],
    top: float,
    describe: Callable[[float], str],
) -> Curve:
    step = (WIDTH - 2 * PADDING) / max(len(releases) - 1, 1)
    points = tuple(
        Point(
            x=round(PADDING + at * step, 1),
            y=_height(value, top),
            low_y=_height(low, top),
            high_y=_height(high, top),
            label=releases[at].commit.date[:10],
            text=f"{releases[at].commit.date[:10]}: {describe(value)}",
        )
        for at, (value, low, high) in values.items()
    )
    numbers = [describe(value) for value, _, _ in values.values()]
    return Curve(
        title=title, first=numbers[0] if numbers else "", last=numbers[-1] if numbers else "", points=points
    )


def _height(value: float, top: float) -> float:
    """Return the y of a value on an axis from 0 to `top`."""
    return round(HEIGHT - PADDING - (HEIGHT - 2 * PADDING) * value / (top or 1.0), 1)


def _join(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
