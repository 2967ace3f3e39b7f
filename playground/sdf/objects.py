"""The objects as parts of distance fields; each function paints one object, in units of its radius."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from playground.sdf.layers import FLAME, INK, IVORY, LEAF, WOOD, Layers
from playground.sdf.shapes import arc, joined, within, without
from playground.sdf.unseen_objects import UNSEEN


def _house(on: Layers) -> None:
    p = on.plane
    on.paint(p.box(-0.6, -0.25, 0.6, 0.95, 0.04))
    on.paint(p.polygon([(-0.78, -0.2), (0.0, -0.98), (0.78, -0.2)], 0.06), on.deep)
    on.paint(p.circle(0.0, -0.45, 0.15), on.pale)
    for x in (-0.3, 0.3):
        on.paint(p.box(x - 0.15, -0.05, x + 0.15, 0.27, 0.03), on.pale)
    on.paint(joined(p.box(-0.17, 0.55, 0.17, 0.95), p.circle(0.0, 0.55, 0.17)), IVORY)


def _tree(on: Layers) -> None:
    p = on.plane
    on.paint(p.stroke([(0.0, 0.0), (0.0, 0.9)], 0.26), WOOD)
    on.paint(p.stroke([(0.0, 0.45), (0.4, 0.0)], 0.13), WOOD)
    crown = joined(p.circle(-0.42, -0.15, 0.46), p.circle(0.42, -0.2, 0.46), p.circle(0.0, -0.5, 0.5))
    on.paint(crown)
    on.paint(joined(p.circle(-0.32, -0.42, 0.2), p.circle(0.1, -0.68, 0.16)), on.pale)


def _fish(on: Layers) -> None:
    p = on.plane
    on.paint(p.polygon([(-0.55, 0.0), (-1.0, -0.5), (-0.86, 0.0), (-1.0, 0.5)], 0.05), on.deep)
    on.paint(p.polygon([(-0.25, 0.4), (0.15, 0.35), (-0.2, 0.75)], 0.04), on.deep)
    body = within(p.circle(0.15, 0.62, 1.08), p.circle(0.15, -0.62, 1.08))
    on.paint(body)
    for x in (-0.3, 0.08):
        on.paint(within(body, p.box(x - 0.09, -1, x + 0.09, 1)), on.pale)
    on.paint(p.circle(0.62, -0.08, 0.1), INK)


def _star(on: Layers) -> None:
    angles = np.pi * np.arange(10) / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, 0.86, 0.46)
    points = list(zip((reach * np.cos(angles)).tolist(), (reach * np.sin(angles)).tolist(), strict=True))
    on.paint(on.plane.polygon(points, 0.1))
    on.paint(on.plane.polygon([(0.45 * x, 0.45 * y) for x, y in points], 0.03), on.pale)


def _car(on: Layers) -> None:
    p = on.plane
    on.paint(within(p.circle(-0.05, 0.1, 0.72), p.box(-1, -1, 1, 0.2)), on.deep)
    on.paint(within(p.circle(-0.05, 0.1, 0.55), p.box(-0.6, -1, -0.1, 0.02)), IVORY)
    on.paint(within(p.circle(-0.05, 0.1, 0.55), p.box(0.0, -1, 0.6, 0.02)), IVORY)
    on.paint(p.box(-1.0, 0.02, 1.0, 0.5, 0.22))
    on.paint(p.circle(0.86, 0.2, 0.1), FLAME)
    for x in (-0.52, 0.52):
        on.paint(p.circle(x, 0.52, 0.25), INK)
        on.paint(p.circle(x, 0.52, 0.09), on.pale)


def _cup(on: Layers) -> None:
    p = on.plane
    on.paint(p.ellipse(0.0, 0.8, 0.95, 0.15), on.deep)
    on.paint(p.ring(-0.72, 0.0, 0.24, 0.13), on.deep)
    on.paint(within(p.ellipse(0.0, -0.3, 0.75, 1.05), p.box(-1, -0.32, 1, 1)))
    on.paint(p.box(-0.75, -0.4, 0.75, -0.24, 0.06), on.pale)
    for x in (-0.25, 0.2):
        on.paint(p.stroke([(x, -0.55), (x + 0.1, -0.68), (x, -0.8), (x + 0.1, -0.95)], 0.08), IVORY)


def _flower(on: Layers) -> None:
    p = on.plane
    on.paint(p.stroke([(0.0, 0.0), (0.06, 0.5), (0.0, 1.0)], 0.12), LEAF)
    for side in (-1, 1):
        leaf = p.turned(35 * side, 0.3 * side, 0.66)
        on.paint(leaf.ellipse(0.0, 0.0, 0.13, 0.28), LEAF)
    for number in range(8):
        petal = p.turned(45 * number, 0.0, -0.3)
        on.paint(petal.ellipse(0.0, -0.44, 0.17, 0.3), on.main if number % 2 else on.deep)
    on.paint(p.circle(0.0, -0.3, 0.26), WOOD)


def _boat(on: Layers) -> None:
    p = on.plane
    on.paint(p.box(0.02, -0.85, 0.34, -0.2, 0.03), on.deep)
    on.paint(p.box(0.02, -0.75, 0.34, -0.6), IVORY)
    on.paint(p.box(-0.6, -0.3, 0.55, 0.25, 0.06), IVORY)
    for x in (-0.35, 0.0, 0.34):
        on.paint(p.circle(x, -0.03, 0.1), INK)
    on.paint(p.polygon([(-0.95, 0.2), (0.98, 0.2), (0.62, 0.72), (-0.7, 0.72)], 0.05))
    on.paint(p.stroke([(-0.8, 0.36), (0.78, 0.36)], 0.08), on.pale)


def _key(on: Layers) -> None:
    p = on.plane
    on.paint(p.box(-0.1, -0.2, 0.1, 0.98, 0.05))
    on.paint(joined(p.box(0.0, 0.55, 0.42, 0.7), p.box(0.0, 0.8, 0.34, 0.95)))
    rings = joined(*(p.circle(x, y, 0.3) for x, y in ((-0.3, -0.4), (0.3, -0.4), (0.0, -0.72))))
    holes = joined(*(p.circle(x, y, 0.12) for x, y in ((-0.3, -0.4), (0.3, -0.4), (0.0, -0.72))))
    on.paint(without(rings, holes))
    on.paint(p.circle(0.0, -0.42, 0.12), on.deep)


def _umbrella(on: Layers) -> None:
    p = on.plane
    on.paint(p.stroke([(0.0, -0.9), (0.0, 0.75), *arc(-0.16, 0.75, 0.16, 0.17, 0, 180, 5)], 0.1), WOOD)
    dome = within(p.ellipse(0.0, 0.05, 1.0, 0.92), p.box(-1.1, -1.1, 1.1, 0.05))
    on.paint(dome)
    panels = without(p.ellipse(0.0, 0.05, 0.62, 0.92), p.ellipse(0.0, 0.05, 0.22, 0.92))
    on.paint(within(dome, panels), on.pale)


def _mushroom(on: Layers) -> None:
    p = on.plane
    for x, y, size in ((0.58, 0.5, 0.42), (-0.15, -0.1, 0.8)):
        on.paint(p.stroke([(x, y), (x, 0.85)], 0.3 * size + 0.06), IVORY)
        on.paint(p.ellipse(x, y + 0.1 * size, 0.72 * size, 0.2 * size), on.pale)
        on.paint(within(p.ellipse(x, y + 0.1 * size, 0.95 * size, 0.95 * size), p.box(-2, -2, 2, y + 0.08)))


def _ball(on: Layers) -> None:
    p = on.plane
    ball = p.circle(0.0, 0.0, 0.85)
    on.paint(ball)
    seams = [p.stroke([(-1, 0), (1, 0)], 0.1), p.stroke([(0, -1), (0, 1)], 0.1)]
    seams += [p.ring(x, 0.0, 0.72, 0.1) for x in (-1.05, 1.05)]
    on.paint(within(ball, joined(*seams)), on.pale)


PAINT: dict[str, Callable[[Layers], None]] = {
    "house": _house,
    "tree": _tree,
    "fish": _fish,
    "star": _star,
    "car": _car,
    "cup": _cup,
    "flower": _flower,
    "boat": _boat,
    "key": _key,
    "umbrella": _umbrella,
    "mushroom": _mushroom,
    "ball": _ball,
    **UNSEEN,
}
"""object -> its function"""
