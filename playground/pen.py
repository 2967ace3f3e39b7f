"""A pen that paints shapes relative to an object's position and size, in its colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Pen:
    """Draws shapes given in units of the object's radius, y downwards, with a dark outline."""

    canvas: ImageDraw.ImageDraw
    center: Point
    radius: float
    main: Colour

    @property
    def dark(self) -> Colour:
        """The colour of outlines."""
        return mix(self.main, (0, 0, 0), 0.62)

    @property
    def shade(self) -> Colour:
        """The darkened main colour, for parts in the background."""
        return mix(self.main, (0, 0, 0), 0.3)

    @property
    def light(self) -> Colour:
        """The lightened main colour, for windows and highlights."""
        return mix(self.main, (255, 255, 255), 0.62)

    def at(self, point: Point) -> Point:
        """Return a point in units of the radius as canvas pixels."""
        return (
            self.center[0] + point[0] * self.radius,
            self.center[1] + point[1] * self.radius,
        )

    def polygon(self, points: Sequence[Point], fill: Colour | None = None) -> None:
        """Fill and outline a polygon; the default fill is the main colour."""
        mapped = [self.at(p) for p in points]
        self.canvas.polygon(mapped, fill=fill or self.main)
        self.canvas.line([*mapped, mapped[0], mapped[1]], fill=self.dark, width=8, joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour | None = None) -> None:
        """Fill and outline an ellipse, given by its center and half axes."""
        box = [self.at((x - rx, y - ry)), self.at((x + rx, y + ry))]
        self.canvas.ellipse(box, fill=fill or self.main, outline=self.dark, width=8)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour | None = None) -> None:
        """Fill and outline a rectangle, given by two corners."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour | None = None) -> None:
        """Draw a line `width` radii wide; the default colour is dark."""
        mapped = [self.at(p) for p in points]
        pixels = max(1, round(width * self.radius))
        self.canvas.line(mapped, fill=fill or self.dark, width=pixels, joint="curve")

    def arc(self, x: float, y: float, r: float, start: float, end: float, width: float) -> None:
        """Draw a dark arc of a circle, from `start` to `end` degrees, clockwise from the right."""
        box = [self.at((x - r, y - r)), self.at((x + r, y + r))]
        self.canvas.arc(box, start, end, fill=self.dark, width=round(width * self.radius))

    def tube(self, points: Sequence[Point], width: float, fill: Colour | None = None) -> None:
        """Draw an outlined line `width` radii wide with round joints and ends."""
        self.blobs([(x, y, width / 2) for x, y in points], fill, joined=True)

    def blobs(
        self,
        circles: Sequence[tuple[float, float, float]],
        fill: Colour | None = None,
        *,
        joined: bool = False,
    ) -> None:
        """Fill circles (x, y, radius) with one outline around their union; `joined` draws a line along them."""
        edge = 8 / self.radius
        for grow, colour in ((0.0, self.dark), (-edge, fill or self.main)):
            if joined:
                self.line([(x, y) for x, y, _ in circles], 2 * (circles[0][2] + grow), colour)
            for x, y, r in circles:
                box = [self.at((x - r - grow, y - r - grow)), self.at((x + r + grow, y + r + grow))]
                self.canvas.ellipse(box, fill=colour)


def curve(x: float, y: float, rx: float, ry: float, start: float, end: float) -> list[Point]:
    """Return 25 points of an ellipse's arc, from `start` to `end` degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, 25))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Return colour `a` blended with a share (0..1) of colour `b`."""
    r, g, b_ = (round(x * (1 - share) + y * share) for x, y in zip(a, b, strict=True))
    return (r, g, b_)
