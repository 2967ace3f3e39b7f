"""The grammars of captions: the world's, lists of tags, and sentences in another order than the world's.

All of them name object, colour, background and style, in words of the world, which the tokenizers know.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from playground import world
from playground.world import PLAIN, Scene

_OTHER = (
    "{place} stands one {thing}, {colour}",
    "the {thing} in the picture is {colour}: {place}",
    "{colour}, {place}: this {thing}",
    "one {thing}; the drawing shows {colour} {place}",
)
_OTHER_STYLE = ("; the style is {style}", ", seen as {style}", "; {style} drawing")

CONCEPT_WORDS = {
    "watercolour": "a soft painting", "ink sketch": "thin lines", "pixel art": "square blocks",
    "halftone": "a print of dots", "neon": "lines in the dark", "mosaic": "small tiles",
    "woodcut": "dark hatching", "stained glass": "a window", "chalkboard": "white chalk",
    "blueprint": "technical lines", "crayon": "rough strokes", "cross stitch": "stitches on cloth",
    "paper cutout": "a shadow", "low poly": "triangles", "glitch": "shifted colours",
    "sticker": "a thick border", "clay": "soft relief",
}  # fmt: skip
"""style -> how the text encoders were taught to describe it without its name"""


def world_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return a caption by the world's grammar, of random length."""
    return world.caption(scene, rng, str(rng.choice(world.LENGTHS)))


def tags(scene: Scene, rng: np.random.Generator) -> str:
    """Return the values of a scene in random order, separated by commas."""
    values = [f"{scene.colour} {scene.object}", scene.background]
    if scene.style != PLAIN:
        values.append(scene.style)
    return ", ".join(str(value) for value in rng.permutation(values))


def other_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Return a sentence that the world's grammar does not contain."""
    place = world.background_phrase(scene.background, rng)
    words = str(rng.choice(_OTHER)).format(thing=scene.object, colour=scene.colour, place=place)
    if scene.style != PLAIN:
        words += str(rng.choice(_OTHER_STYLE)).format(style=scene.style)
    return words


WORLD, TAGS, OTHER = "world", "tags", "other"
GRAMMARS: dict[str, Callable[[Scene, np.random.Generator], str]] = {
    WORLD: world_caption,
    TAGS: tags,
    OTHER: other_caption,
}
"""grammar -> its function"""
