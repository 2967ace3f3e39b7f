"""Prompt cases of the experiments: pairs of adapters drawn from the training lock, and prompts about them.

A pair is an object and a style if judgments give the kinds, else two adapters of different families. Its prompt
follows one template, K-LoRA's "<content> in <style>" for adapters that nobody has described:

    {a caption of the first}, {its trigger words}, {distinctive phrase of the second}, {its trigger words}
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Literal

import numpy as np

from autolora.dataset import store as dataset
from autolora.matching.phrases import distinctive_phrase, word_shares
from autolora.metrics.judgments import Judgment
from autolora.pool import store as pool

KINDS = ("object", "style")
CANDIDATES_PER_PAIR = 8
"""adapters of each kind, per requested pair, that pairs are drawn from: bounds the quadratic number of pairs"""

Scenario = Literal["pair", "single", "unrelated"]
"""pair: two adapters loaded, the prompt asks for both; single: one loaded, the prompt asks for it;
unrelated: two loaded, the prompt asks for neither"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CandidateAdapter:
    """An adapter of the training lock that experiments may use."""

    sha256: str
    family: str
    unseen: bool
    """whether it was held out of training"""
    kind: str | None
    theme: str | None
    renderings: tuple[str, ...]
    """sha256"""
    captions_by_rendering: tuple[tuple[str, ...], ...]
    """of each rendering that has some"""
    trigger_words: tuple[str, ...]

    @property
    def captions(self) -> tuple[str, ...]:
        """Return all captions, short ones first."""
        texts = (text for captions in self.captions_by_rendering for text in captions)
        return tuple(sorted(texts, key=lambda text: (len(text), text)))

    @property
    def topic(self) -> str:
        """Return the theme, or the family if no theme is judged; adapters of one topic never form a pair."""
        return self.theme or self.family


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptCase:
    """One prompt, the adapters loaded for it, and the pair that it belongs to."""

    scenario: Scenario
    prompt: str
    content: str
    """the prompt without trigger words, which the judges were not trained on"""
    adapters: tuple[str, ...]
    """sha256"""
    themes: tuple[str | None, ...]
    """of the adapters; None if not judged"""
    cluster: str
    """cases of one cluster are not independent"""
    unseen: int
    """number of adapters that were held out of training"""


def candidates(root: Path, judgments: Mapping[str, Judgment]) -> list[CandidateAdapter]:
    """Return the adapters of the training lock that the pool still holds, with captions and trigger words.

    Those of the validation split are left out: choices are made on them.
    """
    trigger_words = {row["sha256"]: tuple(row["trigger_words"]) for row in dataset.rows(root, "adapters")}
    captions = dataset.locked_captions(root)
    return [
        CandidateAdapter(
            sha256=row.sha256,
            family=row.family,
            unseen=row.split == "test",
            kind=judgments[row.sha256].kind if row.sha256 in judgments else None,
            theme=judgments[row.sha256].theme if row.sha256 in judgments else None,
            renderings=tuple(image for image in row.renderings if pool.has_rendering(root, image)),
            captions_by_rendering=tuple(
                tuple(caption.text for caption in captions[image])
                for image in row.renderings
                if image in captions
            ),
            trigger_words=trigger_words[row.sha256],
        )
        for row in dataset.training_lock(root).rows
        if row.split != "validation"
        and not row.drawn
        and row.sha256 in trigger_words
        and pool.has_weights(root, row.sha256)
    ]


def draw_cases(candidates: Sequence[CandidateAdapter], pairs: int, seed: int) -> list[PromptCase]:
    """Draw pairs by `seed`, held-out adapters first and each as seldom as possible, and all their cases.

    Each pair gives a case of both adapters, one of each alone, and one whose prompt asks for neither.
    Adapters without a rendering or a caption are skipped. Empty if no two adapters can form a pair.
    """
    usable = sorted((c for c in candidates if c.renderings and c.captions), key=lambda c: c.sha256)
    rng = np.random.default_rng(seed)
    cases: dict[tuple[str, tuple[str, ...], str], PromptCase] = {}
    for first, second in draw_pairs(usable, pairs, rng):
        for case in _cases_of_pair(first, second, usable, rng):
            key = (case.scenario, case.adapters, "" if case.scenario == "single" else case.prompt)
            cases.setdefault(key, case)
    return list(cases.values())


def _cases_of_pair(
    first: CandidateAdapter,
    second: CandidateAdapter,
    everyone: Sequence[CandidateAdapter],
    rng: np.random.Generator,
) -> list[PromptCase]:
    cluster = f"{first.sha256[:12]}+{second.sha256[:12]}"
    parts = pair_prompt_parts(first, second, everyone, rng)
    cases = [_case("pair", parts, (first, second), cluster)]
    for adapter in (first, second):
        cases.append(_case("single", _caption_and_triggers(adapter, rng), (adapter,), adapter.sha256[:12]))
    unrelated = [c for c in everyone if c.topic not in (first.topic, second.topic)]
    if unrelated:
        described = unrelated[int(rng.integers(len(unrelated)))]
        cases.append(_case("unrelated", (_short_caption(described, rng),), (first, second), cluster))
    return cases


def draw_pairs(
    candidates: Sequence[CandidateAdapter], count: int, rng: np.random.Generator
) -> list[tuple[CandidateAdapter, CandidateAdapter]]:
    """Draw up to `count` pairs: most held-out adapters first, then those least used so far, then at random."""
    shuffled = [candidates[i] for i in rng.permutation(len(candidates)).tolist()]
    shuffled.sort(key=lambda candidate: not candidate.unseen)
    limit = CANDIDATES_PER_PAIR * count
    firsts, seconds = ([c for c in shuffled if c.kind == kind][:limit] for kind in KINDS)
    any_kind = permutations(shuffled[:limit], 2)
    pairs = list(product(firsts, seconds)) if firsts and seconds else list(any_kind)
    pairs = [pair for pair in pairs if pair[0].family != pair[1].family and pair[0].topic != pair[1].topic]
    pairs = [pairs[i] for i in rng.permutation(len(pairs)).tolist()]
    used: Counter[str] = Counter()
    drawn: list[tuple[CandidateAdapter, CandidateAdapter]] = []
    while pairs and len(drawn) < count:
        best = min(pairs, key=lambda pair: (-sum(c.unseen for c in pair), sum(used[c.sha256] for c in pair)))
        pairs = [pair for pair in pairs if {c.sha256 for c in pair} != {c.sha256 for c in best}]
        used.update(candidate.sha256 for candidate in best)
        drawn.append(best)
    return drawn


def pair_prompt_parts(
    first: CandidateAdapter,
    second: CandidateAdapter,
    everyone: Sequence[CandidateAdapter],
    rng: np.random.Generator,
) -> tuple[str, ...]:
    """Return the parts of the prompt that asks for both adapters, by the module's template; empty parts dropped."""
    others = (caption for c in everyone if c.topic != second.topic for caption in c.captions)
    phrase = distinctive_phrase(second.captions, word_shares(others))
    parts = (*_caption_and_triggers(first, rng), phrase, *second.trigger_words)
    return tuple(part for part in parts if part)


def _short_caption(candidate: CandidateAdapter, rng: np.random.Generator) -> str:
    """Return one of the shorter half of the captions, so that the whole prompt fits into the text encoder."""
    short = candidate.captions[: (len(candidate.captions) + 1) // 2]
    return short[int(rng.integers(len(short)))].strip().rstrip(".")


def _caption_and_triggers(candidate: CandidateAdapter, rng: np.random.Generator) -> tuple[str, ...]:
    return (_short_caption(candidate, rng), *candidate.trigger_words)


def _case(
    scenario: Scenario, parts: Sequence[str], adapters: tuple[CandidateAdapter, ...], cluster: str
) -> PromptCase:
    trigger_words = {word for adapter in adapters for word in adapter.trigger_words}
    return PromptCase(
        scenario=scenario,
        prompt=", ".join(parts),
        content=", ".join(part for part in parts if part not in trigger_words),
        adapters=tuple(adapter.sha256 for adapter in adapters),
        themes=tuple(adapter.theme for adapter in adapters),
        cluster=cluster,
        unseen=sum(adapter.unseen for adapter in adapters),
    )
