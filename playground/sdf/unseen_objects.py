"""The twelve objects that the base is not trained on, as parts of distance fields."""

from __future__ import annotations

from playground.sdf.layers import BEAK, CLAY, FLAME, INK, IVORY, LEAF, WOOD, Layers, rgb
from playground.sdf.shapes import arc, blended, joined, within, without


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


UNSEEN = {
    "cat": _cat,
    "rocket": _rocket,
    "butterfly": _butterfly,
    "snail": _snail,
    "crown": _crown,
    "apple": _apple,
    "anchor": _anchor,
    "duck": _duck,
    "cactus": _cactus,
    "clock": _clock,
    "heart": _heart,
    "guitar": _guitar,
}
"""object -> the function that paints it, in units of its radius"""
