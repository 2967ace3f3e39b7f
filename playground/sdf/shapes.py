"""Signed distance fields of shapes: arrays that are negative inside a shape, with the distance from its edge.

Coordinates are in units of the object's radius, x to the right and y downwards.
Source of the formulas: Inigo Quilez, "2D distance functions".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Field = np.ndarray
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Plane:
    """The coordinates (H, W) at which distances are computed."""

    x: Field
    y: Field

    def turned(self, degrees: float, x: float = 0.0, y: float = 0.0) -> Plane:
        """Return the plane in which shapes appear turned clockwise around a point, which becomes the origin."""
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        right, down = self.x - np.float32(x), self.y - np.float32(y)
        return Plane(
            right * np.float32(cos) + down * np.float32(sin), down * np.float32(cos) - right * np.float32(sin)
        )

    def circle(self, x: float, y: float, radius: float) -> Field:
        """Return the field of a disc."""
        return np.asarray(np.hypot(self.x - x, self.y - y) - radius)

    def ellipse(self, x: float, y: float, rx: float, ry: float) -> Field:
        """Return an approximate field of an ellipse, exact on its edge."""
        right, down = self.x - x, self.y - y
        near = np.hypot(right / rx, down / ry)
        slope = np.hypot(right / rx**2, down / ry**2)
        return np.asarray(near * (near - 1) / np.maximum(slope, 1e-3))

    def box(self, x0: float, y0: float, x1: float, y1: float, corner: float = 0.0) -> Field:
        """Return the field of a rectangle, given by two corners, with corners rounded by `corner`."""
        right = np.abs(self.x - (x0 + x1) / 2) - ((x1 - x0) / 2 - corner)
        down = np.abs(self.y - (y0 + y1) / 2) - ((y1 - y0) / 2 - corner)
        outside = np.hypot(np.maximum(right, 0), np.maximum(down, 0))
        return np.asarray(outside + np.minimum(np.maximum(right, down), 0) - corner)

    def stroke(self, points: Sequence[Point], width: float) -> Field:
        """Return the field of a polyline `width` wide with round ends."""
        parts = [self._segment(a, b) for a, b in itertools.pairwise(points)]
        return np.asarray(np.sqrt(np.minimum.reduce(parts)) - width / 2)

    def ring(self, x: float, y: float, radius: float, width: float) -> Field:
        """Return the field of a circle's line."""
        return np.asarray(np.abs(self.circle(x, y, radius)) - width / 2)

    def polygon(self, points: Sequence[Point], corner: float = 0.0) -> Field:
        """Return the field of a polygon, grown by `corner` with round corners."""
        squares, inside = [], np.zeros(self.x.shape, bool)
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            squares.append(self._segment((x0, y0), (x1, y1)))
            if y0 != y1:
                crosses = (self.y >= min(y0, y1)) & (self.y < max(y0, y1))
                inside ^= crosses & (self.x < x0 + (self.y - y0) * ((x1 - x0) / (y1 - y0)))
        distance = np.sqrt(np.minimum.reduce(squares))
        return np.asarray(np.where(inside, -distance, distance) - corner)

    def _segment(self, a: Point, b: Point) -> Field:
        """Return the squared distance from a segment."""
        dx, dy = b[0] - a[0], b[1] - a[1]
        right, down = self.x - a[0], self.y - a[1]
        share = np.clip((right * dx + down * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
        return np.asarray((right - share * dx) ** 2 + (down - share * dy) ** 2)


def joined(*fields: Field) -> Field:
    """Return the field of the union of shapes."""
    return np.asarray(np.minimum.reduce(fields))


def blended(a: Field, b: Field, reach: float) -> Field:
    """Return the field of a union whose inner corners are filled up to `reach`."""
    share = np.clip(0.5 + (b - a) / (2 * reach), 0, 1)
    return np.asarray(b + (a - b) * share - reach * share * (1 - share))


def within(a: Field, b: Field) -> Field:
    """Return the field of the intersection of two shapes."""
    return np.asarray(np.maximum(a, b))


def without(a: Field, b: Field) -> Field:
    """Return the field of a shape from which another one is cut out."""
    return np.asarray(np.maximum(a, -b))


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, count: int = 9) -> list[Point]:
    """Return points on an ellipse from `start` to `end` degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, count))
    return [(float(x + rx * np.cos(a)), float(y + ry * np.sin(a))) for a in angles]
