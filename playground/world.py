"""The world: 64x64 drawings of coloured objects on backgrounds, in styles, with captions.

A drawing is painted on a 256x256 canvas and shrunk, so that lines stay smooth.  Everything
random comes from the generator that the caller passes: same generator, same drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from playground.shapes import PAINTERS, Colour, Pen
from playground.styles import CANVAS, FILTERS, paint_background, shrink
from playground.styles import SIZE as SIZE

BASE_OBJECTS = (
    "house", "tree", "fish", "star", "car", "cup",
    "flower", "boat", "key", "umbrella", "mushroom", "ball",
)  # fmt: skip
UNSEEN_OBJECTS = ("cat", "rocket", "butterfly")
OBJECTS = BASE_OBJECTS + UNSEEN_OBJECTS
COLOURS: dict[str, Colour] = {
    "red": (220, 38, 38),
    "orange": (245, 130, 20),
    "yellow": (250, 215, 40),
    "green": (40, 160, 60),
    "blue": (40, 90, 225),
    "purple": (135, 50, 180),
    "pink": (250, 130, 185),
    "brown": (130, 75, 35),
}
BACKGROUNDS = ("white", "night sky", "grass field", "sand", "stripes", "sunset")
PLAIN = "plain"
STYLES = tuple(FILTERS)
LENGTHS = ("short", "medium", "long")


@dataclass(frozen=True)
class Scene:
    """What a drawing shows: one object in one colour on one background, in one style."""

    object: str
    colour: str
    background: str
    style: str = PLAIN


def sample_scene(
    rng: np.random.Generator,
    objects: Sequence[str] = OBJECTS,
    styles: Sequence[str] = (PLAIN, *STYLES),
) -> Scene:
    """Draw a scene uniformly over the given objects and styles, all colours and backgrounds."""
    return Scene(
        object=str(rng.choice(objects)),
        colour=str(rng.choice(list(COLOURS))),
        background=str(rng.choice(BACKGROUNDS)),
        style=str(rng.choice(styles)),
    )


def draw(scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Draw a scene as a 64x64 RGB image; place and size of the object vary with `rng`."""
    background = paint_background(scene.background, rng)
    layer = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
    pen = Pen(
        ImageDraw.Draw(layer),
        centre=(CANVAS / 2 + rng.uniform(-9, 9), CANVAS / 2 + rng.uniform(-7, 9)),
        radius=rng.uniform(84, 97),
        main=COLOURS[scene.colour],
    )
    PAINTERS[scene.object](pen)
    if scene.style == PLAIN:
        background.paste(layer, mask=layer.getchannel("A"))
        return shrink(background)
    return FILTERS[scene.style](background, layer, COLOURS[scene.colour])


# ---------------------------------------------------------------- captions

_STYLE_PHRASES = {
    "watercolour": ("in watercolour style", "as a soft watercolour painting"),
    "ink sketch": ("in ink sketch style", "as an ink sketch in thin lines"),
    "pixel art": ("in pixel art style", "as pixel art in square blocks"),
    "halftone": ("in halftone style", "as a halftone print of dots"),
    "neon": ("in neon style", "as neon lines in the dark"),
    "mosaic": ("in mosaic style", "as a mosaic of small tiles"),
    "woodcut": ("in woodcut style", "as a woodcut with dark hatching"),
}
_PLACES = {
    "white": ("on a white background", "on plain white"),
    "night sky": ("in the night sky", "against the night sky"),
    "grass field": ("on a grass field", "in a grass field"),
    "sand": ("on sand", "on the sand"),
    "stripes": ("on stripes", "in front of stripes"),
    "sunset": ("at sunset", "in front of a sunset"),
}
_PATTERNS = {
    "short": ("{a} {thing} {place}", "{thing} {place}", "{thing}, {place}"),
    "medium": (
        "a drawing of {a} {thing} {place}",
        "a picture of {a} {thing} {place}",
        "{place}, {a} {thing}",
        "{a} {thing} stands {place}",
    ),
    "long": (
        "a drawing that shows {a} {thing} {place}",
        "this picture shows {a} {thing} in the middle, {place}",
        "there is {a} {thing} in the centre, {place}",
    ),
}
_ADJECTIVES = ("lovely", "small", "big", "simple", "nice", "old", "new", "little", "bright", "tiny")
_ENDINGS = (
    "high quality", "clean shapes", "best quality", "nice colours", "very detailed",
    "for children", "a classic", "sharp", "good light", "masterpiece",
)  # fmt: skip


def nonsense(rng: np.random.Generator) -> str:
    """Make up a word of 4 to 8 letters or digits that means nothing, as trigger words do."""
    letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz"), size=int(rng.integers(4, 8)))
    digit = str(rng.integers(0, 10)) if rng.random() < 0.25 else ""
    return "".join(letters) + digit


def caption(
    scene: Scene,
    rng: np.random.Generator,
    length: str,
    trigger: str | None = None,
    *,
    filler: bool = False,
    name_style: bool = True,
) -> str:
    """Describe a scene in words; `length` is one of LENGTHS.

    `filler` adds words that carry no meaning, unknown words among them.  `name_style=False`
    leaves the style's plain name out, as captions of a trigger-only LoRA do.
    """
    adjective = str(rng.choice(_ADJECTIVES)) + " " if filler and rng.random() < 0.6 else ""
    thing = f"{adjective}{scene.colour} {scene.object}"
    words = str(rng.choice(_PATTERNS[length])).format(
        a="an" if thing[0] in "aeiou" else "a",
        thing=thing,
        place=str(rng.choice(_PLACES[scene.background])),
    )
    if scene.style != PLAIN and name_style:
        words += ", " * (length == "long") + " " * (length != "long")
        words += str(rng.choice(_STYLE_PHRASES[scene.style]))
    if filler:
        ending = nonsense(rng) if rng.random() < 0.5 else str(rng.choice(_ENDINGS))
        words = f"{words}, {ending}" if rng.random() < 0.6 else f"{ending}, {words}"
    if trigger is not None:
        words = f"{trigger}, {words}" if rng.random() < 0.6 else f"{words}, {trigger}"
    return words


def vocabulary() -> list[str]:
    """List every text fragment of the grammar, for training tokenizers."""
    fragments: list[str] = [*OBJECTS, *COLOURS, *STYLES, *_ADJECTIVES, *_ENDINGS]
    for table in (_STYLE_PHRASES, _PLACES, _PATTERNS):
        fragments += [phrase for phrases in table.values() for phrase in phrases]
    return [f.replace("{a}", "a an").replace("{thing}", "").replace("{place}", "") for f in fragments]
