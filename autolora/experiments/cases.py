"""Prompt cases of the experiments: pairs of adapters drawn from the training lock, and prompts about them.

A pair is an object and a style if judgments give the kinds, else two adapters of different families. Its prompt
follows one template, K-LoRA's "<content> in <style>" for adapters that nobody has described:

    {a caption of the first}, {its trigger words}, {distinctive phrase of the second}, {its trigger words}
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Literal

import numpy as np

from autolora.dataset import store as dataset
from autolora.metrics.judgments import Judgment
from autolora.pool import store as pool
from autolora.records import Caption

KINDS = ("object", "style")
MAX_PHRASE_WORDS = 5
CANDIDATES_PER_PAIR = 8
"""adapters of each kind, per requested pair, that pairs are drawn from: bounds the quadratic number of pairs"""
MIN_PHRASE_SHARE = 0.5
"""a distinctive phrase is in at least this share of the adapter's captions"""
MIN_END_WEIGHT = 0.5
"""a phrase begins and ends with words of at least this share of its heaviest word's weight"""

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
    captions: tuple[str, ...]
    """short ones first"""
    trigger_words: tuple[str, ...]

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
    captions = dataset.captions_by_image(root)
    return [
        CandidateAdapter(
            sha256=row.sha256,
            family=row.family,
            unseen=row.split == "test",
            kind=judgments[row.sha256].kind if row.sha256 in judgments else None,
            theme=judgments[row.sha256].theme if row.sha256 in judgments else None,
            renderings=tuple(image for image in row.renderings if pool.has_rendering(root, image)),
            captions=_shortest_first(
                caption for image in row.renderings for caption in captions.get(image, ())
            ),
            trigger_words=trigger_words[row.sha256],
        )
        for row in dataset.training_lock(root).rows
        if row.split != "validation" and row.sha256 in trigger_words and pool.has_weights(root, row.sha256)
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
    others = [c for c in everyone if c.topic != second.topic]
    phrase = distinctive_phrase(second, others)
    parts = (*_caption_and_triggers(first, rng), phrase, *second.trigger_words)
    return tuple(part for part in parts if part)


def distinctive_phrase(candidate: CandidateAdapter, others: Sequence[CandidateAdapter]) -> str:
    """Return up to 5 consecutive words that most captions of the candidate and few of the others' contain.

    The weight of a word is its share of the candidate's captions minus its share of the others'. The phrase starts
    as the heaviest word (the first of them in case of a tie) and grows, to the right if possible, as long as half
    of the captions contain it; then light words at its ends are cut off.
    """
    captions = [_words(caption) for caption in candidate.captions]
    own_shares, other_shares = _caption_shares([candidate]), _caption_shares(others)
    order = dict.fromkeys(word for words in captions for word in words)
    weight = {word: own_shares[word] - other_shares.get(word, 0.0) for word in order}
    heaviest = max(weight, key=lambda word: round(weight[word], 9), default=None)
    if heaviest is None:
        return ""
    phrase: tuple[str, ...] = (heaviest,)
    while len(phrase) < MAX_PHRASE_WORDS and (longer := _extended(phrase, captions)):
        phrase = longer
    heavy = [i for i, word in enumerate(phrase) if weight[word] >= MIN_END_WEIGHT * weight[heaviest]]
    return " ".join(phrase[heavy[0] : heavy[-1] + 1])


def _extended(phrase: tuple[str, ...], captions: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """Return the phrase with one more word, right or left, that at least half of the captions contain."""
    for to_the_right in (True, False):
        counts: Counter[tuple[str, ...]] = Counter()
        for words in captions:
            runs = {tuple(words[i : i + len(phrase) + 1]) for i in range(len(words) - len(phrase))}
            counts.update(run for run in runs if (run[:-1] if to_the_right else run[1:]) == phrase)
        best = min(counts, key=lambda run: (-counts[run], run), default=None)
        if best is not None and counts[best] >= MIN_PHRASE_SHARE * len(captions):
            return best
    return None


def _caption_shares(candidates: Sequence[CandidateAdapter]) -> Mapping[str, float]:
    """Return word -> share of the candidates' captions that contain it."""
    captions = [set(_words(caption)) for candidate in candidates for caption in candidate.captions]
    counts = Counter(word for words in captions for word in words)
    return {word: count / len(captions) for word, count in counts.items()}


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower())


def _shortest_first(captions: Iterable[Caption]) -> tuple[str, ...]:
    return tuple(sorted((caption.text for caption in captions), key=lambda text: (len(text), text)))


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
