"""Fit the space of a sentence encoder, relevance in it, and trust in texts, to the captions of the training adapters.

Nobody's judgment is needed: captions and phrases of an adapter ask for it, alone and two or three together; captions
without the adapter's distinctive phrase, and everyday phrases, ask for nothing. Around each prompt stands what people
write around prompts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
from numpy.typing import NDArray

from autolora.encoder.calibration import (
    MAX_SIMILARITY,
    CalibrationPrompt,
    CalibrationSet,
    make_prompts,
    maximize_likelihood,
)
from autolora.encoder.everyday import AFTER, BEFORE, EVERYDAY_PHRASES
from autolora.encoder.model import TextEncoder
from autolora.matching.caption_rule import CaptionRule, directions
from autolora.matching.evidence import Lane, PartSearch, count_words, log_odds_inputs
from autolora.matching.language import Language, LanguageMap, TextTrust
from autolora.matching.parts import split_parts
from autolora.matching.phrases import distinctive_phrase, word_shares
from autolora.matching.words import split_words
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array

EVERYDAY_SHARE = 0.5
"""of the covariance of everyday phrases in that by which features are divided"""
SHRINKAGE = 1.0
"""added to the diagonal of that covariance, whose mean eigenvalue is 1"""
UNLIKE_SHARE = 0.1
"""share of the training adapters whose weights, predicted out of fold, resemble no other one"""
MAX_PROMPTS = 120
"""of each kind"""
STEPS, OBSERVED = 3, 2
"""adapters that the pursuit of a prompt takes, and the best ones that are observed before each"""
ROUNDS = 2
"""each observes what the coefficients of the round before find"""
FIRST_COEFFICIENTS = np.array([3.0, 0.0, 0.0, -3.0])
GENERAL_COEFFICIENTS = np.array([1.33, -5.23, 11.59, -5.86])
"""by texts, of `python -m bench.described_files --fit`, with the words that prompts share with texts about files"""
TEXTS = (
    ("{phrase}",), ("{phrase} by ann", "{phrase}"), ("flux {phrase}",), ("{phrase} pictures", "trained on {phrase}"),
    ("cool {phrase}",), ("amazing {phrase}", "use with strength one", "{phrase} maker"),
)  # fmt: skip
"""what authors say about an adapter that does what a phrase says"""
MIN_OWN_SHARE, MAX_OTHER_SHARE = 0.5, 0.1
"""of the captions of an adapter and of the others that contain a phrase which texts about it may consist of"""
COMPARED_TEXTS = 6
"""texts of an adapter, and adapters whose texts are compared with it, from which trust is fitted"""

Embed = Callable[[Sequence[str]], NDArray[np.floating]]
"""from texts to vectors (N, d)"""


@dataclass(frozen=True, slots=True)
class PartObservation:
    """The best part of a prompt for an adapter, and whether the prompt asks for the adapter."""

    kind: str
    product: float
    size: float
    """of the part"""
    is_relevant: bool


def fit_language(
    adapters: CalibrationSet,
    sentences: TextEncoder,
    embed: Embed,
    project: Embed,
    rule: CaptionRule | None,
    seed: int,
) -> Language:
    """Return the language fitted to the training adapters.

    adapters: with their predictions from weights, out of fold if there are such. sentences: the sentence encoder.
    embed: from texts to the unit vectors that weights are compared with; project: to these before they are made unit
    vectors. rule: by which captions are compared with weights; None: the weights say nothing about texts either.
    """
    captions = [list(chain.from_iterable(renderings)) for renderings in adapters.renderings]
    everyday, empty = sentences.encode(EVERYDAY_PHRASES), sentences.encode([""])[0]
    fitted = fit_map([sentences.encode(texts) for texts in captions], everyday, empty)
    sums = [
        np.stack([fitted.said(sentences.encode(texts)).sum(axis=0, dtype=np.float64) for texts in renderings])
        for renderings in adapters.renderings
    ]
    spoken = replace(adapters, caption_sums=sums, weights=np.zeros((len(sums), fitted.width)))
    written = write_prompts(spoken, np.random.default_rng(seed))
    weights = directions(adapters.weights).astype(np.float32)
    length = float(np.linalg.norm(project(EVERYDAY_PHRASES), axis=1).mean())
    by_weights = Unseen(
        spoken, lambda numbers, _: weights[list(numbers)], lambda texts: project(texts) / length
    )
    by_captions = Unseen(
        spoken, spoken.centroids_without, lambda texts: fitted.parts(sentences.encode(texts))
    )
    coefficients = [fit_coefficients(written, unseen) for unseen in (by_weights, by_captions)]

    def mean(texts: Sequence[str]) -> Float32Array:
        return fitted.mean(sentences.encode(texts))

    return Language(
        model=sentences.digest,
        captions=fitted,
        texts=fit_map([], everyday, empty),
        coefficients=np.stack([*coefficients, GENERAL_COEFFICIENTS]),
        trust=fit_trust(spoken, adapters.weights, mean, embed, rule, seed),
        everyday_length=length,
        min_length=float(np.quantile(np.linalg.norm(adapters.weights, axis=1), UNLIKE_SHARE)),
    )


def general_language(sentences: TextEncoder) -> Language:
    """Return the language of a sentence encoder that has not seen any captions: everyday phrases decide.

    It serves if no encoder is trained, and adapters are known by what is said about them.
    """
    fitted = fit_map([], sentences.encode(EVERYDAY_PHRASES), sentences.encode([""])[0])
    trust = TextTrust(np.zeros(2), np.zeros(2))
    return Language(sentences.digest, fitted, fitted, np.stack([GENERAL_COEFFICIENTS] * 3), trust, 1.0, 0.0)


def fit_trust(
    spoken: CalibrationSet,
    predictions: Float64Array,
    mean: Callable[[Sequence[str]], Float32Array],
    embed: Embed,
    rule: CaptionRule | None,
    seed: int,
) -> TextTrust:
    """Return how captions and weights tell an adapter's texts from those of others.

    spoken: with the captions' sums in the language. predictions (N, d'): from weights. mean: from texts to their unit
    mean (d,) in the captions' space. embed, rule: as of `fit_language`. Texts are made of distinctive phrases.
    """
    rng, count = np.random.default_rng(seed), len(spoken.renderings)
    phrases = _usable_phrases(spoken)
    similar: BoolArray = spoken.centroids @ spoken.centroids.T > MAX_SIMILARITY
    inputs, labels = list[tuple[float, float, float]](), list[float]()
    for own in range(count):
        others = [
            int(other) for other in rng.permutation(count)
            if not similar[own, other] and phrases[other] and phrases[other] != phrases[own]
        ][:COMPARED_TEXTS]  # fmt: skip
        for adapter in [*([own] * COMPARED_TEXTS if phrases[own] else []), *others]:
            texts = [text.format(phrase=phrases[adapter]) for text in TEXTS[rng.integers(len(TEXTS))]]
            prediction = predictions[own : own + 1]
            total = np.asarray(embed(texts), np.float64).sum(axis=0)[None]
            agreement = 0.0 if rule is None else float(rule.agreements(prediction, total)[0])
            length = float(np.linalg.norm(prediction)) if rule else 0.0
            inputs.append((float(mean(texts) @ spoken.centroids[own]), agreement * length, length))
            labels.append(float(adapter == own))
    if len(set(labels)) < 2:
        return TextTrust(np.zeros(2), np.zeros(2))
    cosines, agreements, lengths = np.array(inputs).T
    return TextTrust(
        by_captions=_fit_balanced(np.stack([cosines, np.ones_like(cosines)], axis=1), np.array(labels)),
        by_weights=_fit_balanced(np.stack([agreements, lengths], axis=1), np.array(labels)),
    )


def _fit_balanced(inputs: Float64Array, labels: Float64Array) -> Float64Array:
    """Return the coefficients of a logistic regression in which both labels weigh equally."""
    shares = np.where(labels > 0, labels.mean(), 1 - labels.mean())
    return maximize_likelihood(inputs, labels, 0.5 / shares)


def _usable_phrases(adapters: CalibrationSet) -> list[str]:
    """Return the distinctive phrase of each adapter that few captions of others contain; "" for the others."""
    phrases = _phrases(adapters)
    words = [
        [set(split_words(text)) for text in chain.from_iterable(renderings)]
        for renderings in adapters.renderings
    ]
    held = [_holding(phrase, words) for phrase in phrases]
    return [
        phrase
        if shares[own] >= MIN_OWN_SHARE and _share_of_others(shares, words, own) < MAX_OTHER_SHARE
        else ""
        for own, (phrase, shares) in enumerate(zip(phrases, held, strict=True))
    ]


def _holding(phrase: str, words: Sequence[Sequence[set[str]]]) -> Float64Array:
    """Return the share of each adapter's captions (N,), given by their words, that contain all words of a phrase."""
    wanted = set(split_words(phrase))
    return np.array([np.mean([bool(wanted) and wanted <= text for text in texts]) for texts in words])


def _share_of_others(shares: Float64Array, words: Sequence[Sequence[set[str]]], own: int) -> float:
    """Return the share of all captions but an adapter's, given the shares of each adapter."""
    counts = np.array([len(texts) for texts in words], np.float64)
    counts[own] = 0.0
    return float((shares * counts).sum() / max(counts.sum(), 1.0))


def fit_map(captions: Sequence[Float32Array], everyday: Float32Array, empty: Float32Array) -> LanguageMap:
    """Return the map fitted to the features (n, d) of each adapter's captions and of everyday phrases (P, d).

    empty (d,): features of the empty text; the direction of its vector, which all short texts share, is removed.
    Without captions the everyday phrases alone decide.
    """
    rows, phrases = [features.astype(np.float64) for features in captions], everyday.astype(np.float64)
    phrase_mean = phrases.mean(axis=0)
    caption_mean = np.mean([features.mean(axis=0) for features in rows], axis=0) if rows else phrase_mean
    covariance = _normalized(np.cov(phrases.T, bias=True))
    if rows:
        within = np.sum([np.cov(features.T, bias=True) for features in rows], axis=0)
        covariance = (1 - EVERYDAY_SHARE) * _normalized(within) + EVERYDAY_SHARE * covariance
    values, vectors = np.linalg.eigh(covariance + SHRINKAGE * np.eye(len(covariance)))
    matrix = (vectors * values**-0.5) @ vectors.T
    axis = directions(((empty.astype(np.float64) - caption_mean) @ matrix)[None])[0]
    matrix -= np.outer(matrix @ axis, axis)
    matrix /= np.linalg.norm((phrases - phrase_mean) @ matrix, axis=1).mean()
    return LanguageMap(*(part.astype(np.float32) for part in (caption_mean, phrase_mean, matrix)))


def _normalized(covariance: Float64Array) -> Float64Array:
    """Return the covariance with a mean eigenvalue of 1; zero stays zero."""
    size = float(np.trace(covariance)) / len(covariance)
    return covariance / size if size > 0 else covariance


def write_prompts(adapters: CalibrationSet, rng: np.random.Generator) -> list[CalibrationPrompt]:
    """Return prompts that ask for adapters and prompts that ask for nothing, at most MAX_PROMPTS of each kind."""
    chosen = rng.permutation(len(EVERYDAY_PHRASES))[:MAX_PROMPTS].tolist()
    prompts = [
        *_few_of_each_kind(make_prompts(adapters, rng)),
        *islice(_rests(adapters, rng), MAX_PROMPTS),
        *(CalibrationPrompt("everyday phrase", EVERYDAY_PHRASES[row], (), ()) for row in chosen),
    ]
    return [replace(prompt, text=_surround(prompt.text, rng)) for prompt in prompts]


def _few_of_each_kind(prompts: Iterable[CalibrationPrompt]) -> Iterator[CalibrationPrompt]:
    counts: Counter[str] = Counter()
    for prompt in prompts:
        counts[prompt.kind] += 1
        if counts[prompt.kind] <= MAX_PROMPTS:
            yield prompt


def _rests(adapters: CalibrationSet, rng: np.random.Generator) -> Iterator[CalibrationPrompt]:
    """Yield captions without the words of their adapter's distinctive phrase, in random order."""
    rests = []
    for renderings, distinctive in zip(adapters.renderings, _phrases(adapters), strict=True):
        phrase = set(split_words(distinctive))
        for text in chain.from_iterable(renderings):
            words = split_words(text)
            kept = [word for word in words if word not in phrase]
            if 0 < len(kept) < len(words):
                rests.append(" ".join(kept))
    for row in rng.permutation(len(rests)).tolist():
        yield CalibrationPrompt("rest", rests[row], (), ())


def _phrases(adapters: CalibrationSet) -> list[str]:
    """Return the distinctive phrase of each adapter."""
    captions = [list(chain.from_iterable(renderings)) for renderings in adapters.renderings]
    shares = word_shares(chain.from_iterable(captions))
    return [distinctive_phrase(texts, shares) for texts in captions]


def _surround(text: str, rng: np.random.Generator) -> str:
    """Return a text as it is, or with something before it, behind it, on both sides, or with two things behind it."""
    kind = int(rng.integers(6))
    before = BEFORE[rng.integers(len(BEFORE))] if kind in (1, 3, 4) else ""
    after = AFTER[rng.integers(len(AFTER))] if kind in (2, 3, 4) else ""
    more = AFTER[rng.integers(len(AFTER))] if kind == 4 else ""
    return before + text + after + more


@dataclass(frozen=True, slots=True, eq=False)
class Unseen:
    """The training adapters as one lane of a search would have them if they were new."""

    adapters: CalibrationSet
    """with the captions' sums in the captions' space"""
    vectors: Callable[[Sequence[int], Sequence[int | None]], Float32Array]
    """from adapters (n,) and their described renderings to vectors (n, d) that leave these out"""
    embed: Embed
    """from parts of prompts to vectors"""


def fit_coefficients(written: Sequence[CalibrationPrompt], unseen: Unseen) -> Float64Array:
    """Return the coefficients (4,) of relevance by the best part."""
    texts = list(dict.fromkeys(part for prompt in written for part in split_parts(prompt.text)))
    features = dict(zip(texts, unseen.embed(texts).astype(np.float32), strict=True))
    return fit_observations(lambda coefficients: _observe(written, unseen, features, coefficients))


def fit_observations(observe: Callable[[Float64Array], Iterable[PartObservation]]) -> Float64Array:
    """Return the coefficients (4,) of relevance. observe: from coefficients to what a search with them finds.

    The kinds of prompt count equally.
    """
    coefficients = FIRST_COEFFICIENTS
    for _ in range(ROUNDS):
        found = list(observe(coefficients))
        counts = Counter(row.kind for row in found)
        weights = np.array([len(found) / len(counts) / counts[row.kind] for row in found])
        products, sizes = (np.array([getattr(row, name) for row in found]) for name in ("product", "size"))
        labels = np.array([float(row.is_relevant) for row in found])
        coefficients = maximize_likelihood(log_odds_inputs(products, sizes), labels, weights)
    return coefficients


def _observe(
    written: Sequence[CalibrationPrompt],
    unseen: Unseen,
    features: Mapping[str, Float32Array],
    coefficients: Float64Array,
) -> Iterator[PartObservation]:
    """Yield what the pursuit of each prompt finds; once more without the adapter that it asks for if it is one.

    An adapter may be relevant if its captions resemble those of a requested one, or the prompt contains its distinctive
    phrase: captions name things beside the theme of their adapter. Such adapters are left out.
    """
    adapters = unseen.adapters
    count = len(adapters.renderings)
    vectors, everyone = unseen.vectors(range(count), [None] * count), np.ones(count, np.bool_)
    similar: BoolArray = adapters.centroids @ adapters.centroids.T > MAX_SIMILARITY
    phrases = [set(split_words(phrase)) for phrase in _phrases(adapters)]
    for prompt in written:
        requested = list(prompt.adapters)
        wanted = np.zeros(count, np.bool_)
        wanted[requested] = True
        said = set(split_words(prompt.text))
        unclear = np.array([bool(phrase) and phrase <= said for phrase in phrases])
        unclear |= similar[requested].any(axis=0)
        own = vectors.copy()
        if requested:
            own[requested] = unseen.vectors(requested, prompt.described)
        parts = split_parts(prompt.text)
        compared = np.stack([features[part] for part in parts])
        lane = Lane(own, everyone, compared, count_words(parts), coefficients)
        yield from _pursue(prompt.kind, lane, wanted | ~unclear, wanted)
        if len(requested) == 1:
            yield from _pursue(f"{prompt.kind}, absent", lane, ~unclear & ~wanted, wanted)


def _pursue(kind: str, lane: Lane, allowed: BoolArray, wanted: BoolArray) -> Iterator[PartObservation]:
    """Yield the best adapters before each of the first steps of a pursuit by one lane."""
    search = PartSearch([lane], allowed)
    for _ in range(STEPS):
        odds = search.log_odds()
        best = odds.max(axis=1)
        order = [int(row) for row in np.argsort(-best)[:OBSERVED] if best[row] > -np.inf]
        for row in order:
            part = int(odds[row].argmax())
            yield PartObservation(kind, search.product(row, part), float(lane.sizes[part]), bool(wanted[row]))
        if order:
            search.use(order[0])
