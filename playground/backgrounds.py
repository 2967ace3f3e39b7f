"""The drawn world's backgrounds, painted on a canvas of 256x256."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from playground.pen import Colour

SIZE = 64  # pixels per side of a drawing of the committed world
SIZES = (SIZE, 2 * SIZE)
CANVAS = 256  # pixels per side of the canvas that a drawing is painted on

_Draw = ImageDraw.ImageDraw


def paint_background(name: str, rng: np.random.Generator) -> Image.Image:
    """Return the background of the given name (a key of BACKGROUNDS), 256x256 RGB."""
    top, bottom, decorate = BACKGROUNDS[name]
    image = _gradient(top, bottom)
    decorate(ImageDraw.Draw(image), rng)
    return image


def _gradient(top: Colour, bottom: Colour) -> Image.Image:
    share = np.linspace(0, 1, CANVAS)[:, None, None]
    rows = np.array(top) + (np.array(bottom) - np.array(top)) * share
    return Image.fromarray(np.broadcast_to(rows, (CANVAS, CANVAS, 3)).astype(np.uint8))


def _disc(draw: _Draw, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
    draw.ellipse([x - rx, y - ry, x + rx, y + ry], fill=fill)


def _leave_blank(draw: _Draw, rng: np.random.Generator) -> None:
    """Paint nothing over the gradient."""


def _paint_stars(draw: _Draw, rng: np.random.Generator) -> None:
    for x, y in rng.uniform(4, CANVAS - 4, size=(16, 2)):
        _disc(draw, x, y, 4, 4, (240, 240, 200))


def _paint_grass(draw: _Draw, rng: np.random.Generator) -> None:
    draw.rectangle([0, 150 + rng.uniform(-8, 8), CANVAS, CANVAS], fill=(120, 200, 90))


def _paint_pebbles(draw: _Draw, rng: np.random.Generator) -> None:
    for x, y in rng.uniform(0, CANVAS, size=(40, 2)):
        _disc(draw, x, y, 3, 2, (200, 165, 100))


def _paint_stripes(draw: _Draw, rng: np.random.Generator) -> None:
    for x in range(0, CANVAS, 64):
        draw.rectangle([x, 0, x + 31, CANVAS], fill=(185, 195, 205))


def _paint_sun(draw: _Draw, rng: np.random.Generator) -> None:
    draw.ellipse([20, 130, 110, 220], fill=(255, 235, 150))


def _paint_snow(draw: _Draw, rng: np.random.Generator) -> None:
    lift = rng.uniform(-8, 8)
    _disc(draw, 30, 275 + lift, 150, 100, (222, 233, 246))
    _disc(draw, 225, 270 - lift, 160, 88, (252, 253, 255))
    for i, shift in enumerate(rng.uniform(-10, 10, size=(18, 2))):
        _disc(draw, 24 + 42 * (i % 6) + shift[0], 22 + 56 * (i // 6) + shift[1], 9, 9, (255, 255, 255))


def _paint_city(draw: _Draw, rng: np.random.Generator) -> None:
    for i, height in enumerate(rng.uniform(-18, 18, size=7)):
        x, top = 37 * i - 1, (60, 112, 84, 130, 76, 118, 52)[i] + height
        draw.rectangle([x, top, x + 34, CANVAS], fill=((62, 70, 92), (84, 92, 114))[i % 2])
        for y in range(int(top) + 12, CANVAS - 30, 30):
            draw.rectangle([x + 4, y, x + 13, y + 14], fill=(255, 222, 120))
            draw.rectangle([x + 20, y, x + 29, y + 14], fill=(255, 222, 120))
    draw.rectangle([0, 238, CANVAS, CANVAS], fill=(48, 50, 58))


def _paint_sea(draw: _Draw, rng: np.random.Generator) -> None:
    for x in (10, 90, 170, 240):
        lean = x + rng.uniform(-8, 8)
        draw.polygon([(lean, 0), (lean + 26, 0), (lean - 24, 190), (lean - 74, 190)], fill=(78, 190, 202))
    _disc(draw, 128, 268, 190, 38, (196, 184, 132))
    for x in (12, 36, 218, 242):
        sway = rng.uniform(-6, 6)
        points = [(x, 250), (x + 9 + sway, 215), (x - 7 + sway, 180), (x + 7, 145)]
        draw.line(points, fill=(14, 92, 62), width=13, joint="curve")
    for x, y in rng.uniform((0, 10), (40, 130), size=(7, 2)):
        x = x + 4 if rng.random() < 0.5 else CANVAS - 4 - x
        draw.ellipse([x - 9, y - 9, x + 9, y + 9], outline=(215, 245, 250), width=4)


def _paint_forest(draw: _Draw, rng: np.random.Generator) -> None:
    draw.rectangle([0, 214, CANVAS, CANVAS], fill=(88, 104, 50))
    for x in np.array((14, 66, 118, 186, 238)) + rng.uniform(-7, 7, size=5):
        draw.polygon([(x - 10, 0), (x + 10, 0), (x + 14, 226), (x - 14, 226)], fill=(54, 38, 28))
    for i, y in enumerate(rng.uniform(-4, 24, size=8)):
        _disc(draw, 36 * i + 2, y, 30, 24, ((30, 104, 52), (42, 126, 60))[i % 2])


BACKGROUNDS: dict[str, tuple[Colour, Colour, Callable[[_Draw, np.random.Generator], None]]] = {
    "white": ((250, 250, 250), (250, 250, 250), _leave_blank),
    "night sky": ((12, 14, 50), (35, 40, 95), _paint_stars),
    "grass field": ((165, 215, 250), (215, 240, 255), _paint_grass),
    "sand": ((240, 222, 170), (225, 195, 130), _paint_pebbles),
    "stripes": ((250, 250, 250), (250, 250, 250), _paint_stripes),
    "sunset": ((120, 60, 140), (255, 170, 90), _paint_sun),
    "snow": ((140, 172, 208), (196, 216, 236), _paint_snow),
    "city": ((150, 166, 190), (205, 212, 220), _paint_city),
    "underwater": ((50, 172, 190), (10, 84, 126), _paint_sea),
    "forest": ((58, 98, 58), (28, 62, 38), _paint_forest),
}
