"""Prompts that ask for training adapters, from their captions, and a logistic regression.

The training adapters serve as an index of unseen ones: their vectors come from encoders that were not trained on them,
if there are such, and leave out the captions of the rendering that a prompt describes. The prompts are captions and
distinctive phrases of the adapters, alone and two or three together. No judgment of anybody is needed: an adapter is
relevant to its own prompts; adapters whose captions resemble those of a requested one may be relevant or not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from autolora.matching.caption_rule import directions
from autolora.matching.evidence import logistic
from autolora.matching.phrases import distinctive_phrase, word_shares
from autolora.storage.arrays import Float32Array, Float64Array

MAX_PROMPTS = 300
"""of each kind"""
MAX_SIMILARITY = 0.5
"""cosine of two adapters' captions above which they may be of one concept"""
PENALTY = 0.01
"""of the squared coefficients; keeps them finite if an input separates all right rows from the others"""
NEWTON_STEPS = 50


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """The training adapters as an index would hold them if the encoder had not seen them."""

    renderings: Sequence[Sequence[Sequence[str]]]
    """per adapter and rendering: its captions; no rendering is without captions"""
    caption_sums: Sequence[Float64Array]
    """per adapter: the sum of the captions' unit vectors of each rendering (R, d)"""
    weights: Float64Array
    """(N, d), what the encoder predicts from the weights"""

    @cached_property
    def centroids(self) -> Float32Array:
        """The unit mean vectors of the adapters' captions (N, d)."""
        means: Float32Array = directions(np.stack([sums.sum(axis=0) for sums in self.caption_sums])).astype(
            np.float32
        )
        return means

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


def maximize_likelihood(inputs: Float64Array, labels: Float64Array, weights: Float64Array) -> Float64Array:
    """Return the coefficients of the logistic regression of labels (n,) on inputs (n, c), by Newton's method."""
    coefficients = np.zeros(inputs.shape[1])
    for _ in range(NEWTON_STEPS):
        probabilities = logistic(inputs @ coefficients)
        gradient = inputs.T @ (weights * (labels - probabilities)) - PENALTY * coefficients
        curvature = (inputs * (weights * probabilities * (1 - probabilities))[:, None]).T @ inputs
        coefficients += np.linalg.solve(curvature + PENALTY * np.eye(len(coefficients)), gradient)
    return coefficients
