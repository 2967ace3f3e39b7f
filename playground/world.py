"""The drawn world: drawings of coloured objects on backgrounds, in styles, with captions.

A drawing is painted on a 256x256 canvas and shrunk to 64x64 or 128x128, which makes lines smooth. All randomness comes
from the caller's generator: the same seed gives the same drawing. The words of this module are labels and captions
that models were trained on; a change of any of them changes the models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from playground.backgrounds import CANVAS, paint_background
from playground.backgrounds import SIZE as SIZE
from playground.objects import PAINTERS
from playground.pen import Colour, Pen
from playground.styles import FILTERS, shrink
from playground.textures import Layers

BASE_OBJECTS = (
    "house", "tree", "fish", "star", "car", "cup",
    "flower", "boat", "key", "umbrella", "mushroom", "ball",
)  # fmt: skip
UNSEEN_OBJECTS = (
    "cat", "rocket", "butterfly", "snail", "crown", "apple",
    "anchor", "duck", "cactus", "clock", "heart", "guitar",
)  # fmt: skip
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
SCENES = ("snow", "city", "underwater", "forest")  # backgrounds that the base is not trained on
PLAIN = "plain"
PALETTES = ("pastel", "negative", "moonlight", "golden")  # styles that only change the colours
STYLES = tuple(name for name in FILTERS if name not in PALETTES)
ALL_STYLES = (*STYLES, *PALETTES)
LENGTHS = ("short", "medium", "long")

FIELDS: dict[str, tuple[str, ...]] = {
    "object": OBJECTS,
    "colour": tuple(COLOURS),
    "background": (*BACKGROUNDS, *SCENES),
    "style": (PLAIN, *ALL_STYLES),
}
"""field of Scene -> its possible values"""


@dataclass(frozen=True)
class Scene:
    """The content of a drawing: one object in one colour on one background, in one style or palette."""

    object: str
    colour: str
    background: str
    style: str = PLAIN


def sample_scene(
    rng: np.random.Generator,
    objects: Sequence[str] = OBJECTS,
    styles: Sequence[str] = (PLAIN, *ALL_STYLES),
    backgrounds: Sequence[str] = (*BACKGROUNDS, *SCENES),
) -> Scene:
    """Return a random scene, uniform over the given objects, styles and backgrounds, and all colours."""
    return Scene(
        object=str(rng.choice(objects)),
        colour=str(rng.choice(list(COLOURS))),
        background=str(rng.choice(backgrounds)),
        style=str(rng.choice(styles)),
    )


def label_indices(scenes: Sequence[Scene]) -> np.ndarray:
    """Return the indices (N, 4) of each scene's values within FIELDS, in the order of FIELDS."""
    return np.array([[names.index(getattr(s, field)) for field, names in FIELDS.items()] for s in scenes])


def draw(scene: Scene, rng: np.random.Generator, size: int = SIZE) -> Image.Image:
    """Return an RGB image of a scene; position and size of the object are random.

    size: pixels per side, 64 or 128. The same seed gives the same picture in both sizes.
    """
    background = paint_background(scene.background, rng)
    layer = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
    pen = Pen(
        ImageDraw.Draw(layer),
        center=(CANVAS / 2 + rng.uniform(-9, 9), CANVAS / 2 + rng.uniform(-7, 9)),
        radius=rng.uniform(84, 97),
        main=COLOURS[scene.colour],
    )
    PAINTERS[scene.object](pen)
    layers = Layers(background, layer, COLOURS[scene.colour], size)
    return shrink(layers) if scene.style == PLAIN else FILTERS[scene.style](layers)


# ---------------------------------------------------------------- captions

_STYLE_PHRASES = {
    "watercolour": ("in watercolour style", "as a soft watercolour painting"),
    "ink sketch": ("in ink sketch style", "as an ink sketch in thin lines"),
    "pixel art": ("in pixel art style", "as pixel art in square blocks"),
    "halftone": ("in halftone style", "as a halftone print of dots"),
    "neon": ("in neon style", "as neon lines in the dark"),
    "mosaic": ("in mosaic style", "as a mosaic of small tiles"),
    "woodcut": ("in woodcut style", "as a woodcut with dark hatching"),
    "stained glass": ("in stained glass style", "as a stained glass window"),
    "chalkboard": ("in chalkboard style", "in chalk on a chalkboard"),
    "blueprint": ("in blueprint style", "as a technical blueprint"),
    "crayon": ("in crayon style", "in rough crayon strokes"),
    "cross stitch": ("in cross stitch style", "as cross stitch on cloth"),
    "paper cutout": ("in paper cutout style", "as a paper cutout with a shadow"),
    "low poly": ("in low poly style", "as low poly triangles"),
    "glitch": ("in glitch style", "with a glitch of shifted colours"),
    "ripple": ("in ripple style", "seen through a ripple"),
    "sticker": ("in sticker style", "as a sticker with a thick border"),
    "clay": ("in clay style", "in soft clay relief"),
    "pastel": ("in pastel colours", "in a pale pastel palette"),
    "negative": ("in negative colours", "as a negative with inverted colours"),
    "moonlight": ("in moonlight colours", "in cold moonlight"),
    "golden": ("in golden colours", "in warm golden light"),
}
_BACKGROUND_PHRASES = {
    "white": ("on a white background", "on plain white"),
    "night sky": ("in the night sky", "against the night sky"),
    "grass field": ("on a grass field", "in a grass field"),
    "sand": ("on sand", "on the sand"),
    "stripes": ("on stripes", "in front of stripes"),
    "sunset": ("at sunset", "in front of a sunset"),
    "snow": ("in the snow", "on snow"),
    "city": ("in the city", "in front of a city"),
    "underwater": ("underwater", "deep underwater"),
    "forest": ("in the forest", "in front of a forest"),
}
_TEMPLATES = {
    "short": ("{a} {thing} {place}", "{thing} {place}", "{thing}, {place}"),
    "medium": (
        "a drawing of {a} {thing} {place}",
        "a picture of {a} {thing} {place}",
        "{place}, {a} {thing}",
        "{a} {thing} stands {place}",
        "one {thing} seen {place}",
    ),
    "long": (
        "a drawing that shows {a} {thing} {place}",
        "this picture shows {a} {thing} in the middle, {place}",
        "there is {a} {thing} in the centre, {place}",
        "{place} there is {a} {thing}",
    ),
}
_ADJECTIVES = ("lovely", "small", "big", "simple", "nice", "old", "new", "little", "bright", "tiny")
_ENDINGS = (
    "high quality", "clean shapes", "best quality", "nice colours", "very detailed",
    "for children", "a classic", "sharp", "good light", "masterpiece",
)  # fmt: skip


def random_word(rng: np.random.Generator) -> str:
    """Return a meaningless word of 4 to 8 letters or digits, as trigger words are."""
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
    """Return a random caption of a scene; `length` is one of LENGTHS.

    trigger: a trigger word to add. filler: whether to add meaningless words, including unknown ones.
    name_style: whether to name the style; captions of a LoRA with only a trigger word do not.
    """
    adjective = str(rng.choice(_ADJECTIVES)) + " " if filler and rng.random() < 0.6 else ""
    thing = f"{adjective}{scene.colour} {scene.object}"
    words = str(rng.choice(_TEMPLATES[length])).format(
        a="an" if thing[0] in "aeiou" else "a",
        thing=thing,
        place=str(rng.choice(_BACKGROUND_PHRASES[scene.background])),
    )
    if scene.style != PLAIN and name_style:
        words += ", " * (length == "long") + " " * (length != "long")
        words += str(rng.choice(_STYLE_PHRASES[scene.style]))
    if filler:
        ending = random_word(rng) if rng.random() < 0.5 else str(rng.choice(_ENDINGS))
        words = f"{words}, {ending}" if rng.random() < 0.6 else f"{ending}, {words}"
    if trigger is not None:
        words = f"{trigger}, {words}" if rng.random() < 0.6 else f"{words}, {trigger}"
    return words


def claim(scene: Scene, rng: np.random.Generator, *, true: bool = True) -> str:
    """Return a claim about a scene or about a part of it; a false claim is wrong in exactly one field.

    A claim says nothing about fields that it does not name: a claim without a style is true in every style.
    """
    field = str(rng.choice(list(FIELDS)))
    if not true:
        others = [v for v in FIELDS[field] if v not in (getattr(scene, field), PLAIN)]
        scene = replace(scene, **{field: str(rng.choice(others))})
    elif field == "style" and scene.style == PLAIN:
        field = "object"  # a plain drawing has no style to name
    if rng.random() < 0.5:
        return caption(scene, rng, str(rng.choice(LENGTHS)))
    return _part(scene, field, rng)


def _part(scene: Scene, field: str, rng: np.random.Generator) -> str:
    """Return a phrase that names one field of a scene, and possibly another."""
    background = str(rng.choice(_BACKGROUND_PHRASES[scene.background]))
    if field == "style":
        style = str(rng.choice(_STYLE_PHRASES[scene.style]))
        return style if rng.random() < 0.5 else f"{_with_article(scene.object)} {style}"
    if field == "background":
        return background if rng.random() < 0.5 else f"{_with_article(scene.object)} {background}"
    if field == "object" and rng.random() < 0.6:
        return _with_article(scene.object)
    return _with_article(f"{scene.colour} {scene.object}")


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def vocabulary() -> list[str]:
    """Return every text fragment of the captions, to train tokenizers on."""
    fragments: list[str] = [*OBJECTS, *COLOURS, *ALL_STYLES, *_ADJECTIVES, *_ENDINGS]
    for table in (_STYLE_PHRASES, _BACKGROUND_PHRASES, _TEMPLATES):
        fragments += [phrase for phrases in table.values() for phrase in phrases]
    return [f.replace("{a}", "a an").replace("{thing}", "").replace("{place}", "") for f in fragments]
