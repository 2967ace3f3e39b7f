"""Prompts of the paper's tables, and the adapters that are loaded for each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autolora.experiments.cases import KINDS, CandidateAdapter
from autolora.matching.phrases import distinctive_phrase, word_shares
from studies.case_counts import StudyCase
from studies.crossed_bootstrap import Groups
from studies.paper.world import World

OBJECT_STYLE = "{object} in the {style} style"
"""the paper's template, after an article; trigger words follow it"""
SEEDS_PER_RUN = 1000
"""distance of the first image seeds of two runs"""
MIN_PER_FIELD = 3
"""unseen adapters of a field from which sets are drawn among these alone"""
PROMPT = "prompt"
"""population of cases that ask for no adapter; the others are objects and styles, or topics of any kind"""
FEW_SETS = 10
"""fields with unseen adapters, per adapter of a set, from which sets are drawn among these alone"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A prompt, the adapters that are loaded for it, and those that it asks for."""

    prompt: str
    content: str
    """the prompt without trigger words, which judges do not know"""
    loaded: tuple[str, ...]
    """sha256 of the adapters that act: those that the prompt asks for; none in Table 1"""
    themes: tuple[str | None, ...] = ()
    """of the loaded adapters"""
    adapters: tuple[str, ...] = ()
    """sha256 of those that the prompt asks for or describes"""
    groups: Groups
    """cases that share a member are not independent"""
    run: int
    """seed of the gates and of the draw of the cases"""
    images: int

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the images."""
        return tuple(self.run * SEEDS_PER_RUN + number for number in range(self.images))


def as_study_case(case: Case) -> StudyCase:
    """Return a case as the tables count it."""
    return StudyCase(groups=case.groups, adapters=case.adapters, prompt=case.content)


def object_style_cases(
    world: World,
    run: int,
    images: int,
    *,
    limits: tuple[int | None, int | None] = (None, None),
) -> list[Case]:
    """Return a case per object and style of the unseen adapters: one adapter per theme.

    limits: largest numbers of objects and styles. Empty without judgments of both kinds.
    """
    firsts: dict[str, dict[str, CandidateAdapter]] = {kind: {} for kind in KINDS}
    for adapter in world.listed(unseen=True):
        if adapter.kind in firsts and adapter.theme:
            firsts[adapter.kind].setdefault(adapter.theme, adapter)
    objects, styles = (
        [by_theme[theme] for theme in sorted(by_theme)][:limit]
        for by_theme, limit in zip(firsts.values(), limits, strict=True)
    )
    return [_object_in_style(thing, style, run, images) for thing in objects for style in styles]


def _object_in_style(thing: CandidateAdapter, style: CandidateAdapter, run: int, images: int) -> Case:
    content = _with_article(OBJECT_STYLE.format(object=thing.theme, style=style.theme))
    return Case(
        prompt=", ".join([content, *thing.trigger_words, *style.trigger_words]),
        content=content,
        loaded=(thing.sha256, style.sha256),
        themes=(thing.theme, style.theme),
        adapters=(thing.sha256, style.sha256),
        groups=((KINDS[0], thing.topic), (KINDS[1], style.topic)),
        run=run,
        images=images,
    )


def draw_part(cases: Sequence[Case], count: int, seed: int) -> list[Case]:
    """Return `count` of the cases in random order, such that each adapter is in about as many."""
    order = np.random.default_rng(seed).permutation(len(cases)).tolist()
    remaining, drawn = [cases[i] for i in order], list[Case]()
    used: Counter[str] = Counter()
    while remaining and len(drawn) < count:
        best = min(remaining, key=lambda case: sum(used[sha256] for sha256 in case.loaded))
        remaining.remove(best)
        drawn.append(best)
        used.update(best.loaded)
    return drawn


def random_sets(world: World, size: int, count: int, run: int, images: int) -> list[Case]:
    """Return cases of random sets of adapters of different fields, each set once, with prompts from captions.

    They are unseen adapters, and training adapters only of a field that has fewer than MIN_PER_FIELD unseen ones. The
    first adapter of a set gives a caption, the others their distinctive phrases, all of them their trigger words.
    There are fewer than `count` cases if there are fewer sets.
    """
    rng = np.random.default_rng([run, size])
    trained = _by_field(world, world.listed(unseen=False))
    fields = _unseen_first(_by_field(world, world.listed(unseen=True)), trained, size)
    drawn: dict[tuple[str, ...], Case] = {}
    for _ in range(100 * count):
        chosen = [
            fields[name][int(rng.integers(len(fields[name])))]
            for name in rng.permutation(sorted(fields))[:size].tolist()
        ]
        key = tuple(sorted(adapter.sha256 for adapter in chosen))
        if len(chosen) == size and key not in drawn:
            drawn[key] = _mixed_case(world, chosen, rng, run, images)
        if len(drawn) == count:
            break
    return list(drawn.values())


def _by_field(world: World, adapters: Sequence[CandidateAdapter]) -> dict[str, Sequence[CandidateAdapter]]:
    fields: dict[str, list[CandidateAdapter]] = {}
    for adapter in adapters:
        fields.setdefault(world.field(adapter), []).append(adapter)
    return dict(fields)


def _unseen_first(
    unseen: Mapping[str, Sequence[CandidateAdapter]],
    trained: Mapping[str, Sequence[CandidateAdapter]],
    size: int,
) -> Mapping[str, Sequence[CandidateAdapter]]:
    """Return field -> the adapters that sets are drawn from: only unseen ones if their fields suffice."""
    rich = {name: adapters for name, adapters in unseen.items() if len(adapters) >= MIN_PER_FIELD}
    if len(rich) >= size:
        return rich
    if len(unseen) >= FEW_SETS * size:  # fields of few adapters each, such as families
        return unseen
    every = {*unseen, *trained}
    return {name: rich.get(name, [*unseen.get(name, ()), *trained.get(name, ())]) for name in every}


def _mixed_case(
    world: World, chosen: Sequence[CandidateAdapter], rng: np.random.Generator, run: int, images: int
) -> Case:
    first, *others = chosen
    parts = [_short_caption(first, int(rng.integers(len(first.captions))))]
    parts += [phrase for other in others if (phrase := _phrase(world, other))]
    trigger_words = [word for adapter in chosen for word in adapter.trigger_words]
    adapters = tuple(adapter.sha256 for adapter in chosen)
    return Case(
        prompt=", ".join([*parts, *trigger_words]),
        content=", ".join(parts),
        loaded=adapters,
        themes=tuple(adapter.theme for adapter in chosen),
        adapters=adapters,
        groups=tuple(("topic", adapter.topic) for adapter in chosen),
        run=run,
        images=images,
    )


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _short_caption(adapter: CandidateAdapter, number: int) -> str:
    """Return one of the shorter half of the captions, without its final period."""
    return adapter.captions[number // 2].strip().rstrip(".")


def _phrase(world: World, adapter: CandidateAdapter) -> str:
    others = (
        text for other in world.adapters.values() if other.topic != adapter.topic for text in other.captions
    )
    return distinctive_phrase(adapter.captions, word_shares(others))
