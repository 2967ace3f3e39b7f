"""The world's objects, painted with a pen that knows its place, size and colour."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Pen:
    """Draws shapes given in units of the object's radius, y downwards, with a dark outline."""

    canvas: ImageDraw.ImageDraw
    centre: Point
    radius: float
    main: Colour

    @property
    def dark(self) -> Colour:
        return mix(self.main, (0, 0, 0), 0.62)

    @property
    def shade(self) -> Colour:
        return mix(self.main, (0, 0, 0), 0.3)

    @property
    def light(self) -> Colour:
        return mix(self.main, (255, 255, 255), 0.62)

    def at(self, point: Point) -> Point:
        return (
            self.centre[0] + point[0] * self.radius,
            self.centre[1] + point[1] * self.radius,
        )

    def polygon(self, points: Sequence[Point], fill: Colour | None = None) -> None:
        mapped = [self.at(p) for p in points]
        self.canvas.polygon(mapped, fill=fill or self.main)
        self.canvas.line([*mapped, mapped[0], mapped[1]], fill=self.dark, width=8, joint="curve")

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour | None = None) -> None:
        box = [self.at((x - rx, y - ry)), self.at((x + rx, y + ry))]
        self.canvas.ellipse(box, fill=fill or self.main, outline=self.dark, width=8)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour | None = None) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def line(self, points: Sequence[Point], width: float, fill: Colour | None = None) -> None:
        mapped = [self.at(p) for p in points]
        pixels = max(1, round(width * self.radius))
        self.canvas.line(mapped, fill=fill or self.dark, width=pixels, joint="curve")

    def arc(self, x: float, y: float, r: float, start: float, end: float, width: float) -> None:
        box = [self.at((x - r, y - r)), self.at((x + r, y + r))]
        self.canvas.arc(box, start, end, fill=self.dark, width=round(width * self.radius))


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Blend colour `a` with a share (0..1) of colour `b`."""
    r, g, b_ = (round(x * (1 - share) + y * share) for x, y in zip(a, b, strict=True))
    return (r, g, b_)


def _house(pen: Pen) -> None:
    pen.box(0.35, -0.95, 0.6, -0.3, pen.shade)
    pen.box(-0.75, -0.15, 0.75, 0.9)
    pen.polygon([(-1.0, -0.1), (0.0, -1.0), (1.0, -0.1)], pen.shade)
    pen.box(-0.2, 0.3, 0.2, 0.9, pen.dark)
    pen.box(-0.6, 0.1, -0.35, 0.4, pen.light)
    pen.box(0.35, 0.1, 0.6, 0.4, pen.light)


def _tree(pen: Pen) -> None:
    pen.box(-0.16, 0.4, 0.16, 1.0, (110, 70, 40))
    pen.polygon([(-0.9, 0.55), (0, -0.35), (0.9, 0.55)])
    pen.polygon([(-0.72, 0.1), (0, -0.7), (0.72, 0.1)])
    pen.polygon([(-0.5, -0.35), (0, -1.05), (0.5, -0.35)])


def _fish(pen: Pen) -> None:
    pen.polygon([(0.4, 0.0), (1.05, -0.5), (0.9, 0.0), (1.05, 0.5)], pen.shade)
    pen.polygon([(-0.3, -0.45), (0.1, -0.85), (0.35, -0.35)], pen.shade)
    pen.ellipse(-0.2, 0.0, 0.8, 0.52)
    pen.arc(-0.75, 0.0, 0.5, -50, 50, 0.09)
    pen.ellipse(-0.66, -0.12, 0.13, 0.13, (255, 255, 255))


def _star(pen: Pen) -> None:
    points = []
    for i in range(10):
        radius, angle = (1.0 if i % 2 == 0 else 0.42), math.pi * i / 5 - math.pi / 2
        points.append((radius * math.cos(angle), radius * math.sin(angle)))
    pen.polygon(points)


def _car(pen: Pen) -> None:
    pen.polygon([(-0.55, -0.1), (-0.35, -0.6), (0.35, -0.6), (0.6, -0.1)], pen.light)
    pen.line([(0.0, -0.6), (0.0, -0.1)], 0.1)
    pen.polygon([(-1.05, 0.4), (-1.0, -0.1), (0.85, -0.1), (1.05, 0.1), (1.05, 0.4)])
    for x in (-0.55, 0.55):
        pen.ellipse(x, 0.42, 0.29, 0.29, (45, 45, 50))
        pen.ellipse(x, 0.42, 0.12, 0.12, (210, 210, 210))


def _cup(pen: Pen) -> None:
    pen.arc(0.6, 0.1, 0.42, -100, 110, 0.17)
    pen.polygon([(-0.75, -0.45), (0.65, -0.45), (0.5, 0.85), (-0.6, 0.85)])
    pen.ellipse(-0.05, -0.45, 0.7, 0.18, pen.light)
    pen.line([(-0.3, -0.75), (-0.2, -0.95)], 0.09)
    pen.line([(0.1, -0.75), (0.2, -0.95)], 0.09)


def _flower(pen: Pen) -> None:
    pen.line([(0.0, 0.0), (0.0, 1.0)], 0.13, (35, 120, 45))
    pen.line([(0.0, 0.75), (0.4, 0.5)], 0.17, (35, 120, 45))
    for i in range(5):
        angle = 2 * math.pi * i / 5 - math.pi / 2
        pen.ellipse(0.45 * math.cos(angle), -0.3 + 0.45 * math.sin(angle), 0.34, 0.34)
    pen.ellipse(0.0, -0.3, 0.24, 0.24, pen.light)


def _boat(pen: Pen) -> None:
    pen.line([(0.0, -1.0), (0.0, 0.4)], 0.1)
    pen.polygon([(0.08, -0.95), (0.8, 0.2), (0.08, 0.2)], (250, 250, 250))
    pen.polygon([(-0.1, -0.7), (-0.65, 0.2), (-0.1, 0.2)], pen.light)
    pen.polygon([(-1.0, 0.35), (1.0, 0.35), (0.65, 0.85), (-0.65, 0.85)])


def _key(pen: Pen) -> None:
    pen.box(-0.2, -0.13, 1.0, 0.13)
    pen.box(0.78, 0.1, 1.0, 0.5)
    pen.box(0.4, 0.1, 0.6, 0.42)
    pen.ellipse(-0.55, 0.0, 0.48, 0.48)
    pen.ellipse(-0.55, 0.0, 0.2, 0.2, pen.light)


def _umbrella(pen: Pen) -> None:
    pen.line([(0.0, -0.2), (0.0, 0.8)], 0.1)
    pen.arc(0.18, 0.78, 0.2, 0, 180, 0.1)
    arch = [(math.cos(a), 0.05 - math.sin(a)) for a in np.linspace(0, math.pi, 25)]
    scallops = [(-0.67, -0.12), (-0.33, 0.05), (0.0, -0.12), (0.33, 0.05), (0.67, -0.12)]
    pen.polygon([*arch, *scallops])
    pen.line([(0.0, -0.95), (-0.33, 0.05)], 0.07)
    pen.line([(0.0, -0.95), (0.33, 0.05)], 0.07)


def _mushroom(pen: Pen) -> None:
    pen.polygon([(-0.25, 0.0), (0.25, 0.0), (0.36, 0.9), (-0.36, 0.9)], (245, 235, 215))
    cap = [(math.cos(a), 0.1 - 1.0 * math.sin(a)) for a in np.linspace(0, math.pi, 25)]
    pen.polygon(cap)
    for x, y, r in ((-0.45, -0.2, 0.17), (0.1, -0.5, 0.2), (0.5, -0.15, 0.15)):
        pen.ellipse(x, y, r, r, (255, 250, 240))


def _ball(pen: Pen) -> None:
    pen.ellipse(0.0, 0.0, 0.85, 0.85)
    box = [pen.at((-0.8, -0.8)), pen.at((0.8, 0.8))]
    for start in (-90, 30, 150):
        pen.canvas.pieslice(box, start, start + 60, fill=(252, 252, 252))
    pen.ellipse(0.0, 0.0, 0.2, 0.2)


def _cat(pen: Pen) -> None:
    for side in (-1, 1):
        pen.polygon([(0.8 * side, -0.15), (0.78 * side, -1.0), (0.15 * side, -0.55)])
    pen.ellipse(0.0, 0.1, 0.85, 0.72)
    for side in (-1, 1):
        pen.ellipse(0.34 * side, -0.05, 0.16, 0.2, (250, 250, 200))
        pen.line([(0.34 * side, -0.2), (0.34 * side, 0.1)], 0.1, (20, 20, 20))
        for y in (0.3, 0.45):
            pen.line([(0.3 * side, 0.33), (1.0 * side, y * 1.5 - 0.25)], 0.055)
    pen.polygon([(-0.11, 0.22), (0.11, 0.22), (0.0, 0.36)], (255, 170, 180))


def _rocket(pen: Pen) -> None:
    pen.polygon([(-0.25, 0.6), (0.25, 0.6), (0.0, 1.08)], (255, 170, 30))
    pen.polygon([(-0.3, 0.05), (-0.8, 0.75), (-0.3, 0.6)], pen.shade)
    pen.polygon([(0.3, 0.05), (0.8, 0.75), (0.3, 0.6)], pen.shade)
    curve = np.linspace(0, math.pi, 21)
    pen.polygon([(0.4 * math.cos(a), -0.2 - 0.85 * math.sin(a)) for a in curve]
                + [(-0.34, 0.62), (0.34, 0.62)])  # fmt: skip
    pen.ellipse(0.0, -0.3, 0.21, 0.21, (225, 240, 255))


def _butterfly(pen: Pen) -> None:
    for side in (-1, 1):
        pen.ellipse(0.52 * side, -0.36, 0.46, 0.5)
        pen.ellipse(0.42 * side, 0.45, 0.34, 0.4, pen.shade)
        pen.ellipse(0.55 * side, -0.38, 0.18, 0.2, pen.light)
        pen.line([(0.0, -0.5), (0.25 * side, -1.0)], 0.07)
    pen.ellipse(0.0, 0.05, 0.12, 0.7, pen.dark)


PAINTERS: dict[str, Callable[[Pen], None]] = {
    "house": _house, "tree": _tree, "fish": _fish, "star": _star, "car": _car, "cup": _cup,
    "flower": _flower, "boat": _boat, "key": _key, "umbrella": _umbrella,
    "mushroom": _mushroom, "ball": _ball,
    "cat": _cat, "rocket": _rocket, "butterfly": _butterfly,
}  # fmt: skip
