"""Prompts for the measurement of a selection on the playground, with the themes that they ask for."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from autolora.metrics.judgments import Judgment
from playground.world import BASE_OBJECTS, COLOURS

COMPOSITES = ("a {object} in {style} style", "a {style} drawing of a {object}")
TRIPLE = "a {object} in {style} style {scene}"
SINGLES = {"object": "a {theme}", "style": "a drawing in {theme} style"}
SCENES = {"snow": "in the snow", "city": "in the city", "underwater": "underwater", "forest": "in the forest"}


@dataclass(frozen=True, slots=True)
class Case:
    """A prompt, and the themes that it asks for."""

    kind: str
    """composite, triple, single, absent (single, in an index without the theme's adapters), or none: the base model
    draws it alone"""
    prompt: str
    themes: frozenset[str]
    cluster: str


def make_cases(indexed: Iterable[Judgment]) -> list[Case]:
    """Return the prompts about the objects, styles and scenes of the indexed adapters, and those of the base model."""
    themes: dict[str, list[str]] = {}
    for judgment in sorted(set(indexed), key=lambda judgment: judgment.theme):
        if judgment.theme not in themes.setdefault(judgment.kind or "", []):
            themes[judgment.kind or ""].append(judgment.theme)
    singles = [
        Case("single", phrase.format(theme=theme), frozenset([theme]), theme)
        for kind, phrase in SINGLES.items()
        for theme in themes.get(kind, ())
    ]
    absent = [Case("absent", case.prompt, case.themes, case.cluster) for case in singles]
    return [*_composites(themes), *_triples(themes), *singles, *absent, *_base_prompts()]


def _composites(themes: Mapping[str, Sequence[str]]) -> list[Case]:
    return [
        Case("composite", phrase.format(object=thing, style=style), frozenset((thing, style)), thing)
        for phrase in COMPOSITES
        for thing in themes.get("object", ())
        for style in themes.get("style", ())
    ]


def _triples(themes: Mapping[str, Sequence[str]]) -> list[Case]:
    return [
        Case(
            "triple",
            TRIPLE.format(object=thing, style=style, scene=SCENES[scene]),
            frozenset((thing, style, scene)),
            thing,
        )
        for thing in themes.get("object", ())
        for number, style in enumerate(themes.get("style", ()))
        for scene in [sorted(SCENES)[number % len(SCENES)]]
        if scene in themes.get("scene", ())
    ]


def _base_prompts() -> list[Case]:
    return [
        Case("none", f"a {colour} {thing}", frozenset(), thing)
        for thing in BASE_OBJECTS
        for colour in COLOURS
    ]
