"""The prompts of the sealed test, each with the themes that it asks for: described renderings, and other texts.

The second set is out of distribution in three ways: sentences of a grammar that no caption has; styles described
without their names, in words that CLIP was trained with; and prompts that no LoRA of the pool fits. None of its prompts
is about a rendering of the pool. The VLM knows the words of the descriptions too, so captions with one of them have to
be hidden from whatever is asked for `other words`; adjectives and endings are in no caption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from playground import authors, flux, grammars, loras, world
from playground.sealed.recipes import SEED
from playground.themes import MIXED, parts

DESCRIBED, OTHER_GRAMMAR, OTHER_WORDS, KNOWN, UNKNOWN = 300, 400, 300, 150, 150
"""numbers of prompts: per number of renderings from 1 to 3; of the other grammar; of other words; that the base alone
fits; with words that nothing in the world fits"""
OTHER_GRAMMAR_KIND, OTHER_WORDS_KIND = "other grammar", "other words"
KNOWN_KIND, UNKNOWN_KIND = "known to the base", "unknown"
UNKNOWN_THINGS = (
    "violin", "dragon", "bridge", "robot", "queen", "wolf", "lighthouse", "samurai", "piano",
    "astronaut", "castle", "bicycle", "owl", "teapot", "mountain", "whale", "spider", "harp", "ladder", "tulip",
)  # fmt: skip
UNKNOWN_LOOKS = (
    "oil painting", "photograph, 35 mm", "marble statue", "anime", "vintage poster", "isometric render",
    "charcoal", "tattoo design",
)  # fmt: skip
MOST_FIELDS = 3
"""fields of a scene that themes decide: object, style and background"""
_ORDERS = (
    "draw {a} {colour} {thing}, {place}{style}",
    "show {thing}s, {colour} ones, {place}{style}",
    "what is {place}? {a} {colour} {thing}{style}",
    "{place}: {colour} {thing}!{style}",
)
ADJECTIVES = ("lovely", "tiny", "bright", "old", "little")
ENDINGS = ("for children", "masterpiece", "sharp", "good light", "a classic")


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what fits it."""

    prompt: str
    kind: str
    subject: str
    """the first theme that it asks for, or the object: prompts of one subject are not independent"""
    themes: tuple[str, ...]
    """themes that the prompt asks for; empty if no LoRA fits"""
    renderings: tuple[str, ...] = ()
    """the renderings that it describes, as repository/images/number.png"""

    def row(self) -> dict[str, object]:
        """Return the prompt as a row of JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Rendering:
    path: str
    theme: str
    scene: world.Scene


@dataclass(frozen=True)
class _Gallery:
    renderings: tuple[_Rendering, ...]
    themes: tuple[str, ...]

    def fitting(self, scene: world.Scene) -> tuple[str, ...]:
        """Return the themes that fit a scene."""
        return tuple(name for name in self.themes if parts(name).items() <= vars(scene).items())


def described(recipes: Sequence[authors.Recipe]) -> Iterator[Prompt]:
    """Yield prompts in the world's grammar that describe one, two and three renderings."""
    rng = np.random.default_rng(SEED + 2)
    gallery = _gallery(recipes)
    for count in (1, 2, 3):
        yield from _different(DESCRIBED, partial(_described, gallery, count, rng))


def out_of_distribution(recipes: Sequence[authors.Recipe]) -> Iterator[Prompt]:
    """Yield prompts of another grammar, with other words, and prompts that nothing fits."""
    rng = np.random.default_rng(SEED + 3)
    gallery = _gallery(recipes)
    yield from _different(OTHER_GRAMMAR, partial(_in_other_grammar, gallery, rng))
    yield from _different(OTHER_WORDS, partial(_in_other_words, gallery, rng))
    yield from _different(KNOWN, partial(_known, rng))
    yield from _different(UNKNOWN, partial(_unknown, rng))


def _different(count: int, write: Callable[[], Prompt]) -> Iterable[Prompt]:
    """Return `count` prompts with different texts."""
    prompts: dict[str, Prompt] = {}
    while len(prompts) < count:
        prompt = write()
        prompts.setdefault(prompt.prompt, prompt)
    return prompts.values()


def _gallery(recipes: Sequence[authors.Recipe]) -> _Gallery:
    """Return all renderings, and the themes of all files with the parts of mixtures."""
    names = {name for recipe in recipes for name in (recipe.theme, *recipe.theme.split(MIXED))}
    renderings = tuple(
        _Rendering(f"{recipe.repo}/images/{number}.png", recipe.labelled.theme, scene)
        for recipe in recipes
        for number, (scene, _) in enumerate(loras.rendered_scenes(recipe), 1)
    )
    return _Gallery(renderings, tuple(sorted(names)))


def _compatible(renderings: Sequence[_Rendering], count: int, rng: np.random.Generator) -> list[_Rendering]:
    """Return `count` random renderings whose themes decide different fields of a scene."""
    chosen: list[_Rendering] = []
    while len(chosen) < count:
        candidate = renderings[int(rng.integers(len(renderings)))]
        fields = [field for rendering in (*chosen, candidate) for field in parts(rendering.theme)]
        most = MOST_FIELDS - (count - len(chosen) - 1)  # each further rendering needs one
        if len(set(fields)) == len(fields) <= most:
            chosen.append(candidate)
    return chosen


def _with_themes(scene: world.Scene, renderings: Sequence[_Rendering]) -> world.Scene:
    """Return a scene with the themes of renderings."""
    themes = {field: value for rendering in renderings for field, value in parts(rendering.theme).items()}
    return replace(scene, **themes)


def _described(gallery: _Gallery, count: int, rng: np.random.Generator) -> Prompt:
    chosen = _compatible(gallery.renderings, count, rng)
    scene, paths = _with_themes(chosen[0].scene, chosen), tuple(rendering.path for rendering in chosen)
    text = grammars.world_caption(scene, rng)
    return Prompt(text, f"described {count}", chosen[0].theme, gallery.fitting(scene), paths)


def _in_other_grammar(gallery: _Gallery, rng: np.random.Generator) -> Prompt:
    chosen = _compatible(gallery.renderings, int(rng.integers(1, 4)), rng)
    scene = _with_themes(flux.sample_scene(rng), chosen)
    return Prompt(_order(scene, rng), OTHER_GRAMMAR_KIND, chosen[0].theme, gallery.fitting(scene))


def _order(scene: world.Scene, rng: np.random.Generator) -> str:
    """Return a request for a scene."""
    return str(rng.choice(_ORDERS)).format(
        a="an" if scene.colour[0] in "aeiou" else "a",
        colour=scene.colour,
        thing=scene.object,
        place=world.background_phrase(scene.background, rng),
        style="" if scene.style == world.PLAIN else f" as {scene.style}",
    )


def _in_other_words(gallery: _Gallery, rng: np.random.Generator) -> Prompt:
    """Return a prompt about a scene whose style is described without its name."""
    styled = [
        rendering.theme for rendering in gallery.renderings if rendering.theme in grammars.CONCEPT_WORDS
    ]
    theme = styled[int(rng.integers(len(styled)))]
    thing = f"{rng.choice(ADJECTIVES)} {flux.sample_scene(rng).object}"
    text = f"{thing}, {grammars.CONCEPT_WORDS[theme]}, {rng.choice(ENDINGS)}"
    return Prompt(text, OTHER_WORDS_KIND, theme, (theme,))


def _known(rng: np.random.Generator) -> Prompt:
    scene = flux.sample_scene(rng)
    return Prompt(grammars.world_caption(scene, rng), KNOWN_KIND, scene.object, ())


def _unknown(rng: np.random.Generator) -> Prompt:
    thing = str(rng.choice(UNKNOWN_THINGS))
    return Prompt(f"{thing}, {rng.choice(UNKNOWN_LOOKS)}", UNKNOWN_KIND, thing, ())
