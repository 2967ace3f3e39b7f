"""The drawn world's 24 objects, each painted by one function in units of the object's radius."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from playground.pen import Pen, curve


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


def _snail(pen: Pen) -> None:
    for x, tip in ((-0.72, -1.0), (-0.5, -0.6)):
        pen.line([(x, 0.0), (tip, -0.6)], 0.13)
        pen.ellipse(tip, -0.66, 0.14, 0.14, pen.dark)
    pen.tube([(-0.65, 0.1), (-0.55, 0.7), (0.9, 0.72)], 0.46, pen.shade)
    pen.ellipse(0.25, -0.12, 0.72, 0.72)
    spiral = [(0.055 * t * math.cos(t), 0.055 * t * math.sin(t)) for t in np.linspace(2, 9, 50)]
    pen.line([(0.25 + x, -0.12 + y) for x, y in spiral], 0.11)


def _crown(pen: Pen) -> None:
    points = [(-0.8, 0.5), (-0.95, -0.5), (-0.45, 0.05), (0.0, -0.75), (0.45, 0.05), (0.95, -0.5)]
    pen.polygon([*points, (0.8, 0.5)])
    for x, y in ((-0.92, -0.55), (0.0, -0.82), (0.92, -0.55)):
        pen.ellipse(x, y, 0.18, 0.18)
    pen.box(-0.8, 0.4, 0.8, 0.85, pen.shade)
    for x in (-0.45, 0.0, 0.45):
        pen.ellipse(x, 0.62, 0.17, 0.17, pen.light)


def _apple(pen: Pen) -> None:
    right = [*curve(0.38, 0.05, 0.55, 0.5, -125, 20), *curve(0.2, 0.2, 0.68, 0.78, 10, 85), (0.0, 0.88)]
    pen.polygon([*right, *((-x, y) for x, y in reversed(right[:-1])), (0.0, -0.2)])
    pen.line([(0.0, -0.2), (0.08, -0.7)], 0.14, (90, 55, 30))
    pen.polygon(
        [*curve(0.4, -0.45, 0.42, 0.42, 180, 270), *curve(0.1, -0.9, 0.42, 0.42, 0, 90)], (70, 175, 60)
    )
    pen.line([(-0.62, 0.25), (-0.62, 0.05), (-0.5, -0.12)], 0.15, pen.light)


def _anchor(pen: Pen) -> None:
    pen.ellipse(0.0, -0.72, 0.32, 0.32)
    pen.ellipse(0.0, -0.72, 0.14, 0.14, pen.light)
    pen.tube(curve(0.0, -0.05, 0.8, 0.82, 15, 165), 0.42)
    for side in (-1, 1):
        pen.polygon([(1.1 * side, 0.4), (0.42 * side, 0.3), (0.88 * side, -0.2)])
    pen.tube([(0.0, -0.35), (0.0, 0.77)], 0.42)
    pen.tube([(-0.5, -0.2), (0.5, -0.2)], 0.38)
    pen.line([(0.0, -0.45), (0.0, 0.77)], 0.26, pen.main)
    pen.line(curve(0.0, -0.05, 0.8, 0.82, 40, 140), 0.26, pen.main)


def _duck(pen: Pen) -> None:
    pen.polygon([(-0.65, -0.55), (-1.1, -0.42), (-1.05, -0.25), (-0.6, -0.2)], (255, 150, 30))
    pen.polygon([(1.08, -0.25), *curve(0.15, 0.15, 0.88, 0.72, 10, 200), (0.1, 0.0)])
    pen.ellipse(-0.33, -0.4, 0.44, 0.44)
    pen.line([(-0.34, -0.3), (-0.24, 0.35)], 0.5, pen.main)
    pen.ellipse(-0.48, -0.52, 0.1, 0.1, (15, 15, 15))
    pen.polygon([*curve(0.25, 0.25, 0.42, 0.36, 0, 180)], pen.shade)


def _cactus(pen: Pen) -> None:
    pen.tube([(-0.72, -0.4), (-0.72, 0.05), (0.0, 0.1)], 0.44)
    pen.tube([(0.72, -0.6), (0.72, -0.1), (0.0, -0.05)], 0.44)
    pen.tube([(0.0, -0.75), (0.0, 0.6)], 0.56)
    pen.line([(-0.5, 0.08), (0.5, -0.07)], 0.26, pen.main)
    pen.line([(0.0, -0.7), (0.0, 0.5)], 0.14, pen.shade)
    pen.polygon([(-0.4, 0.55), (0.4, 0.55), (0.32, 1.0), (-0.32, 1.0)], (240, 230, 215))


def _clock(pen: Pen) -> None:
    for side in (-1, 1):
        pen.tube([(0.4 * side, 0.5), (0.68 * side, 0.92)], 0.24)
        pen.ellipse(0.58 * side, -0.66, 0.34, 0.34, pen.shade)
    pen.ellipse(0.0, 0.1, 0.86, 0.86)
    pen.ellipse(0.0, 0.1, 0.46, 0.46, (250, 250, 245))
    pen.line([(0.0, -0.28), (0.0, 0.12), (0.28, 0.26)], 0.13, (20, 20, 20))


def _heart(pen: Pen) -> None:
    t = np.linspace(0, 2 * math.pi, 60, endpoint=False)
    x = np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)) / 15.5
    pen.polygon(list(zip(x.tolist(), y.tolist(), strict=True)))
    pen.line([(-0.66, -0.2), (-0.6, -0.42), (-0.4, -0.55)], 0.17, pen.light)


def _guitar(pen: Pen) -> None:
    pen.tube([(0.1, -0.1), (0.9, -0.9)], 0.34, pen.shade)
    pen.line([(0.68, -0.95), (0.95, -0.68)], 0.12)
    pen.line([(0.84, -1.1), (1.1, -0.84)], 0.12)
    pen.blobs([(-0.42, 0.42, 0.58), (0.08, -0.08, 0.42)])
    pen.ellipse(-0.14, 0.14, 0.2, 0.2, pen.dark)
    pen.line([(-0.72, 0.44), (-0.44, 0.72)], 0.16)


PAINTERS: dict[str, Callable[[Pen], None]] = {
    "house": _house, "tree": _tree, "fish": _fish, "star": _star, "car": _car, "cup": _cup,
    "flower": _flower, "boat": _boat, "key": _key, "umbrella": _umbrella,
    "mushroom": _mushroom, "ball": _ball,
    "cat": _cat, "rocket": _rocket, "butterfly": _butterfly, "snail": _snail,
    "crown": _crown, "apple": _apple, "anchor": _anchor, "duck": _duck, "cactus": _cactus,
    "clock": _clock, "heart": _heart, "guitar": _guitar,
}  # fmt: skip
