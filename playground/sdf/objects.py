"""The 24 objects as parts of distance fields; each function paints one object, in units of its radius."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from playground.sdf.layers import Layers, rgb
from playground.sdf.shapes import arc, blended, joined, within, without

INK, IVORY, WOOD, LEAF = rgb((36, 30, 44)), rgb((252, 246, 232)), rgb((120, 84, 62)), rgb((66, 150, 84))
FLAME, CLAY, BEAK = rgb((255, 176, 60)), rgb((196, 110, 76)), rgb((248, 160, 40))
Paint = Callable[[Layers], None]


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


def _cat(on: Layers) -> None:
    p = on.plane
    on.paint(p.stroke([(0.4, 0.8), (0.85, 0.65), (0.85, 0.2), (0.7, 0.05)], 0.2), on.deep)
    on.paint(blended(p.ellipse(0.05, 0.5, 0.5, 0.5), p.circle(-0.1, 0.1, 0.28), 0.2))
    for side in (-1, 1):
        on.paint(p.polygon([(-0.15 + 0.42 * side, -0.3), (-0.15 + 0.4 * side, -0.9), (-0.15, -0.55)], 0.04))
    on.paint(p.ellipse(-0.15, -0.3, 0.5, 0.42))
    on.paint(p.ellipse(0.0, 0.6, 0.24, 0.32), on.pale)
    for side in (-1, 1):
        on.paint(p.circle(-0.15 + 0.2 * side, -0.34, 0.09), INK)
    on.paint(p.ellipse(-0.15, -0.12, 0.17, 0.1), IVORY)


def _rocket(on: Layers) -> None:
    p = on.plane.turned(38)
    on.paint(p.ellipse(0.0, 0.85, 0.15, 0.32), FLAME)
    for side in (-1, 1):
        on.paint(p.polygon([(0.22 * side, 0.15), (0.55 * side, 0.75), (0.2 * side, 0.6)], 0.05), on.deep)
    body = within(p.circle(-0.72, 0.0, 1.06), p.circle(0.72, 0.0, 1.06))
    hull = within(body, p.box(-1, -1, 1, 0.62))
    on.paint(hull)
    on.paint(within(hull, p.box(-1, -1, 1, -0.42)), on.pale)
    for y in (-0.12, 0.25):
        on.paint(p.circle(0.0, y, 0.12), IVORY)


def _butterfly(on: Layers) -> None:
    p = on.plane
    for side in (-1, 1):
        on.paint(p.polygon([(0.1 * side, 0.0), (0.55 * side, 0.72), (0.75 * side, 0.3)], 0.13), on.deep)
        on.paint(p.polygon([(0.1 * side, 0.0), (0.85 * side, -0.7), (0.85 * side, -0.1)], 0.13))
        on.paint(p.circle(0.68 * side, -0.34, 0.14), on.pale)
        on.paint(p.circle(0.52 * side, 0.36, 0.1), on.pale)
        on.paint(p.stroke([(0.0, -0.3), (0.24 * side, -0.85)], 0.05), INK)
        on.paint(p.circle(0.24 * side, -0.88, 0.07), INK)
    on.paint(p.stroke([(0.0, -0.35), (0.0, 0.5)], 0.16), INK)


def _snail(on: Layers) -> None:
    p = on.plane
    for x, tip in ((0.62, 0.55), (0.75, 0.98)):
        on.paint(p.stroke([(x, 0.1), (tip, -0.4)], 0.08), on.pale)
        on.paint(p.circle(tip, -0.44, 0.1), INK)
    foot = p.stroke([(-0.85, 0.72), (0.5, 0.68)], 0.3)
    on.paint(blended(foot, p.stroke([(0.5, 0.65), (0.68, 0.1)], 0.3), 0.15), on.pale)
    on.paint(p.circle(-0.2, 0.05, 0.66))
    on.paint(joined(p.ring(-0.16, 0.08, 0.42, 0.1), p.ring(-0.12, 0.12, 0.18, 0.1)), on.deep)


def _crown(on: Layers) -> None:
    p = on.plane
    on.paint(p.ellipse(0.0, 0.05, 0.62, 0.55), on.deep)
    tips = [(-0.95, -0.35), (-0.52, 0.1), (-0.42, -0.6), (0.0, 0.0), (0.42, -0.6), (0.52, 0.1), (0.95, -0.35)]
    on.paint(p.polygon([(-0.75, 0.62), *tips, (0.75, 0.62)], 0.05))
    on.paint(p.box(-0.8, 0.5, 0.8, 0.75, 0.06), on.deep)
    for x in (-0.5, 0.0, 0.5):
        on.paint(p.turned(45, x, 0.62).box(-0.09, -0.09, 0.09, 0.09), on.pale)


def _apple(on: Layers) -> None:
    p = on.plane
    on.paint(p.stroke([(0.0, -0.3), (0.12, -0.85)], 0.12), WOOD)
    on.paint(p.turned(60, 0.36, -0.66).ellipse(0.0, 0.0, 0.13, 0.28), LEAF)
    fruit = blended(p.circle(-0.34, 0.15, 0.56), p.circle(0.34, 0.15, 0.56), 0.12)
    fruit = without(blended(fruit, p.circle(0.0, 0.45, 0.44), 0.1), p.circle(0.98, 0.0, 0.36))
    on.paint(fruit)
    on.paint(within(without(fruit, p.circle(0.98, 0.0, 0.36)), p.circle(0.98, 0.0, 0.46)), IVORY)
    on.paint(p.turned(25, -0.5, -0.05).ellipse(0.0, 0.0, 0.1, 0.22), on.pale)


def _anchor(on: Layers) -> None:
    p = on.plane
    bow = arc(0.0, 0.0, 0.78, 0.85, 12, 168, 11)
    on.paint(joined(p.stroke(bow, 0.2), p.stroke([(0.0, -0.5), (0.0, 0.85)], 0.2)))
    on.paint(p.stroke([(-0.42, -0.28), (0.42, -0.28)], 0.18))
    on.paint(p.ring(0.0, -0.72, 0.22, 0.15))
    for side in (-1, 1):
        on.paint(p.polygon([(0.55 * side, 0.3), (0.98 * side, 0.32), (0.84 * side, -0.12)], 0.04), on.deep)


def _duck(on: Layers) -> None:
    p = on.plane
    on.paint(p.polygon([(0.68, -0.52), (1.02, -0.4), (0.68, -0.28)], 0.07), BEAK)
    body = blended(
        p.ellipse(-0.1, 0.35, 0.8, 0.5), p.polygon([(-0.95, -0.05), (-0.4, 0.1), (-0.6, 0.45)], 0.05), 0.1
    )
    on.paint(blended(body, p.circle(0.38, -0.42, 0.42), 0.16))
    on.paint(p.turned(-12, -0.2, 0.32).ellipse(0.0, 0.0, 0.42, 0.24), on.pale)
    on.paint(p.circle(0.5, -0.52, 0.09), INK)


def _cactus(on: Layers) -> None:
    p = on.plane
    pads = ((0.0, 0.35, 0.4, 0.52, 0), (-0.42, -0.4, 0.28, 0.38, -28), (0.4, -0.3, 0.3, 0.4, 30))
    for x, y, rx, ry, degrees in pads:
        pad = p.turned(degrees, x, y)
        on.paint(pad.ellipse(0.0, 0.0, rx, ry), on.main if degrees <= 0 else on.deep)
        dots = [pad.circle(rx * a, ry * b, 0.05) for a, b in ((0, -0.55), (-0.45, 0), (0.45, 0), (0, 0.45))]
        on.paint(joined(*dots), IVORY)
    on.paint(p.circle(-0.6, -0.8, 0.13), rgb((250, 120, 150)))
    on.paint(within(p.ellipse(0.0, 1.0, 0.85, 0.28), p.box(-1, 0, 1, 0.96)), CLAY)


def _clock(on: Layers) -> None:
    p = on.plane
    on.paint(p.box(-0.82, -0.82, 0.82, 0.82, 0.2))
    on.paint(p.circle(0.0, 0.0, 0.62), IVORY)
    marks = [p.circle(x, y, 0.07) for x, y in ((0.0, -0.48), (0.48, 0.0), (0.0, 0.48), (-0.48, 0.0))]
    on.paint(joined(*marks), on.deep)
    on.paint(p.stroke([(-0.24, -0.2), (0.0, 0.0), (0.1, -0.42)], 0.1), INK)


def _heart(on: Layers) -> None:
    p = on.plane
    for size, color in ((1.0, on.main), (0.55, on.pale)):
        square = p.turned(45, 0.0, 0.05).box(-0.5 * size, -0.5 * size, 0.5 * size, 0.5 * size, 0.05)
        lobes = [p.circle(0.354 * side * size, 0.05 - 0.354 * size, 0.5 * size) for side in (-1, 1)]
        on.paint(joined(square, *lobes), color)


def _guitar(on: Layers) -> None:
    p = on.plane.turned(-14)
    on.paint(p.box(-0.09, -0.85, 0.09, 0.2), WOOD)
    on.paint(p.box(-0.15, -1.08, 0.15, -0.8, 0.05), on.deep)
    on.paint(blended(p.circle(0.0, 0.6, 0.46), p.circle(0.0, 0.1, 0.32), 0.12))
    on.paint(p.circle(0.0, 0.25, 0.15), INK)
    on.paint(p.box(-0.2, 0.66, 0.2, 0.76), IVORY)


PAINT: dict[str, Paint] = {
    "house": _house, "tree": _tree, "fish": _fish, "star": _star, "car": _car, "cup": _cup,
    "flower": _flower, "boat": _boat, "key": _key, "umbrella": _umbrella, "mushroom": _mushroom,
    "ball": _ball, "cat": _cat, "rocket": _rocket, "butterfly": _butterfly, "snail": _snail,
    "crown": _crown, "apple": _apple, "anchor": _anchor, "duck": _duck, "cactus": _cactus,
    "clock": _clock, "heart": _heart, "guitar": _guitar,
}  # fmt: skip
"""object -> its function"""
