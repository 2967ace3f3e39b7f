"""Calibration: fit the probability that a prompt asks for what an adapter does (autolora.matching.relevance).

The training adapters serve as an index of unseen ones: their vectors come from encoders that were not trained on them,
if there are such, and leave out the captions of the rendering that a prompt describes. The prompts are captions and
distinctive phrases of the adapters, alone and two or three together, and once more in an index without the adapters
that they ask for, so that nothing fits. No judgment of anybody is needed: an adapter is relevant to its own prompts;
adapters whose captions resemble those of a requested one may be relevant or not, and are left out.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from autolora.matching.hybrid import CaptionRule, combine, directions
from autolora.matching.phrases import distinctive_phrase, word_shares
from autolora.matching.relevance import NUM_COEFFICIENTS, Relevance, logistic
from autolora.matching.selection import Candidates, Match, pursue
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array, Int64Array

MAX_PROMPTS = 300
"""of each kind"""
MATCHES_PER_PROMPT = 3
MAX_SIMILARITY = 0.5
"""cosine of two adapters' captions above which they may be of one concept"""
PENALTY = 0.01
"""of the squared coefficients; keeps them finite if a cosine separates all relevant adapters from the others"""
NEWTON_STEPS = 50

logger = logging.getLogger(__name__)

Embed = Callable[[Sequence[str]], Float64Array]
"""from texts to their unit vectors (N, d)"""


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """The training adapters as an index would hold them if the encoder had not seen them."""

    renderings: Sequence[Sequence[Sequence[str]]]
    """per adapter and rendering: its captions; no rendering is without captions"""
    caption_sums: Sequence[Float64Array]
    """per adapter: the sum of the captions' unit vectors of each rendering (R, d)"""
    weights: Float64Array
    """(N, d), what the encoder predicts from the weights alone"""
    rule: CaptionRule | None
    """by which the index combines weights and captions; None: it holds the weights alone"""

    @cached_property
    def centroids(self) -> Float32Array:
        """The unit mean vectors of the adapters' captions (N, d)."""
        means: Float32Array = directions(np.stack([sums.sum(axis=0) for sums in self.caption_sums])).astype(
            np.float32
        )
        return means

    def hybrid(
        self, adapters: Sequence[int], described: Sequence[int | None]
    ) -> tuple[Float64Array, BoolArray]:
        """Return the vectors of adapters (n, d) without the captions of the described renderings, and whether they
        contain captions (n,)."""
        if self.rule is None:
            return directions(self.weights[list(adapters)]), np.zeros(len(adapters), dtype=np.bool_)
        kept = self._without(adapters, described)
        sums, counts = np.stack([rows.sum(axis=0) for rows in kept]), np.array([len(rows) for rows in kept])
        return combine(self.weights[list(adapters)], sums, counts, self.rule)

    def centroids_without(self, adapters: Sequence[int], described: Sequence[int | None]) -> Float32Array:
        """Return the unit mean vectors of captions (n, d) of adapters, without those of the described renderings."""
        sums = [rows.sum(axis=0) for rows in self._without(adapters, described)]
        means: Float32Array = directions(np.array(sums).reshape(len(sums), -1)).astype(np.float32)
        return means

    def _without(self, adapters: Sequence[int], described: Sequence[int | None]) -> list[Float64Array]:
        """Return the caption sums (R, d) of adapters, without the described renderings."""
        return [
            np.delete(self.caption_sums[adapter], [] if image is None else [image], axis=0)
            for adapter, image in zip(adapters, described, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class CalibrationPrompt:
    """A text, and the adapters that it asks for."""

    kind: str
    text: str
    adapters: tuple[int, ...]
    described: tuple[int | None, ...]
    """per adapter: the position of the rendering that the text describes, whose captions its vector leaves out"""


@dataclass(frozen=True, slots=True)
class Observation:
    """An adapter that a pursuit found, and whether the prompt asks for it."""

    kind: str
    cosine: float
    remainder: float
    uses_captions: bool
    is_relevant: bool


def unfitted_relevance() -> Tensor:
    """Return the coefficients (2, NUM_COEFFICIENTS) of an encoder that has not been calibrated: nan."""
    return torch.full((2, NUM_COEFFICIENTS), torch.nan, dtype=torch.float64)


def calibrate(adapters: CalibrationSet, embed: Embed, seed: int) -> Relevance:
    """Return the relevance fitted to the training adapters; the seed draws the prompts if there are many."""
    prompts = list(make_prompts(adapters, np.random.default_rng(seed)))
    vectors = embed([prompt.text for prompt in prompts])
    alone = CalibrationSet(adapters.renderings, adapters.caption_sums, adapters.weights, None)
    weights = fit_logistic(list(observe(alone, prompts, vectors)))
    if adapters.rule is None:
        return Relevance(np.stack([weights, weights]))
    combined = [row for row in observe(adapters, prompts, vectors) if row.uses_captions]
    return Relevance(np.stack([weights, fit_logistic(combined) if combined else weights]))


def make_prompts(adapters: CalibrationSet, rng: np.random.Generator) -> Iterator[CalibrationPrompt]:
    """Yield captions and phrases, alone, and those of two or three adapters together; MAX_PROMPTS of each kind."""
    captions = [
        CalibrationPrompt("caption", text, (adapter,), (image,))
        for adapter, renderings in enumerate(adapters.renderings)
        for image, texts in enumerate(renderings)
        for text in texts
    ]
    by_adapter = [[text for texts in renderings for text in texts] for renderings in adapters.renderings]
    shares = word_shares(chain.from_iterable(by_adapter))
    phrases = [
        CalibrationPrompt("phrase", phrase, (adapter,), (None,))
        for adapter, texts in enumerate(by_adapter)
        if (phrase := distinctive_phrase(texts, shares))
    ]
    for singles in (captions, phrases):
        yield from (singles[row] for row in rng.permutation(len(singles))[:MAX_PROMPTS])
        for size in (2, 3):
            for _ in range(min(MAX_PROMPTS, len(captions))):
                parts = [singles[row] for row in rng.permutation(len(singles))[:size]]
                requested = [part.adapters[0] for part in parts]
                centroids = adapters.centroids[requested]
                others = centroids @ centroids.T - np.eye(len(parts))
                if len(parts) == size and others.max() <= MAX_SIMILARITY:
                    yield _combined(parts)


def _combined(parts: Sequence[CalibrationPrompt]) -> CalibrationPrompt:
    """Return the prompt that asks for all adapters of the parts."""
    return CalibrationPrompt(
        f"{len(parts)} {parts[0].kind}s",
        ", ".join(part.text for part in parts),
        tuple(adapter for part in parts for adapter in part.adapters),
        tuple(image for part in parts for image in part.described),
    )


def observe(
    adapters: CalibrationSet, prompts: Sequence[CalibrationPrompt], prompt_vectors: Float64Array
) -> Iterator[Observation]:
    """Yield what the pursuit of each prompt (P, d) finds, in the whole index and without the requested adapters."""
    count = len(adapters.weights)
    combined, uses_captions = adapters.hybrid(range(count), [None] * count)
    vectors = combined.astype(np.float32)  # half the memory, whose bandwidth limits the pursuits
    for prompt, wanted in zip(prompts, prompt_vectors, strict=True):
        requested = list(prompt.adapters)
        stored = vectors[requested], uses_captions[requested]
        vectors[requested], uses_captions[requested] = adapters.hybrid(requested, prompt.described)
        similarity = adapters.centroids[requested] @ adapters.centroids.T
        resembling: BoolArray = np.any(similarity > MAX_SIMILARITY, axis=0)
        resembling[requested] = True
        for match in _matches(wanted, vectors, uses_captions, np.ones(count, dtype=np.bool_)):
            is_relevant = match.position in requested
            if is_relevant or not resembling[match.position]:
                uses = bool(uses_captions[match.position])
                yield Observation(prompt.kind, match.cosine, match.remainder, uses, is_relevant)
        if len(requested) == 1:
            for match in _matches(wanted, vectors, uses_captions, ~resembling):
                uses = bool(uses_captions[match.position])
                yield Observation(f"{prompt.kind}, absent", match.cosine, match.remainder, uses, False)
        vectors[requested], uses_captions[requested] = stored


def fit_logistic(observations: Sequence[Observation]) -> Float64Array:
    """Return the coefficients (NUM_COEFFICIENTS,) of the probability that an observed adapter is relevant.

    The kinds of prompt count equally. Maximum likelihood with a penalty on the squares. The slope is at least 0: if a
    larger cosine makes relevance less likely, the training adapters are no evidence, and a warning is logged.
    """
    counts = Counter(row.kind for row in observations)
    weights = np.array([len(observations) / len(counts) / counts[row.kind] for row in observations])
    inputs = np.array([(row.cosine, row.remainder, 1.0) for row in observations])
    labels = np.array([float(row.is_relevant) for row in observations])
    coefficients = maximize_likelihood(inputs, labels, weights)
    if coefficients[0] >= 0:
        return coefficients
    logger.warning(
        "relevance does not depend on the cosine: the training adapters are too few or too different"
    )
    inputs[:, 0] = 0.0
    return maximize_likelihood(inputs, labels, weights)


def maximize_likelihood(inputs: Float64Array, labels: Float64Array, weights: Float64Array) -> Float64Array:
    """Return the coefficients of the logistic regression of labels (n,) on inputs (n, c), by Newton's method."""
    coefficients = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        probabilities = logistic(inputs @ coefficients)
        gradient = inputs.T @ (weights * (labels - probabilities)) - PENALTY * coefficients
        curvature = (inputs * (weights * probabilities * (1 - probabilities))[:, None]).T @ inputs
        coefficients += np.linalg.solve(curvature + PENALTY * np.eye(len(coefficients)), gradient)
    return coefficients


def _matches(
    prompt: Float64Array, vectors: Float32Array, uses_captions: BoolArray, allowed: BoolArray
) -> Iterator[Match]:
    """Yield the first matches of a pursuit by cosine among the allowed adapters."""
    positions = np.flatnonzero(allowed)

    def nearest(wanted: Float64Array) -> tuple[Int64Array, Float32Array]:
        cosines: Float32Array = vectors @ wanted.astype(np.float32)
        return positions, cosines[positions]

    candidates = Candidates(vectors, uses_captions, nearest)
    yield from islice(
        pursue(prompt, candidates, lambda cosines, uses_captions, remainder: cosines), MATCHES_PER_PROMPT
    )
