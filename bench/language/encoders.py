"""The sentence encoders that are compared, and functions of texts that compute each text once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import numpy as np

from autolora.errors import MismatchError
from autolora.matching.words import split_words
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.text_encoder.bert import BERT, Bert
from autolora.text_encoder.sentences import SentenceEncoder

WIDTH = 384
"""of the random vectors, as of all-MiniLM-L6-v2"""
BATCH = 32
MAX_DIFFERENCE = 1e-5
"""of a number that is computed in a batch"""


class Remembered:
    """A function from texts to vectors (N, d) that computes each text once."""

    def __init__(self, function: Callable[[Sequence[str]], Float32Array]) -> None:
        self._function = function
        self._vectors: dict[str, Float32Array] = {}

    def __call__(self, texts: Sequence[str]) -> Float32Array:
        """Return the vectors (N, d) of at least one text."""
        if missing := [text for text in dict.fromkeys(texts) if text not in self._vectors]:
            self._vectors |= dict(zip(missing, self._function(missing), strict=True))
        return np.stack([self._vectors[text] for text in texts])


class BatchedEncoder:
    """A sentence encoder in a fifth of the time: texts of as many tokens are computed together, equal but for rounding.

    Raises MismatchError if the encoder is of another kind than the playground's.
    """

    def __init__(self, encoder: SentenceEncoder) -> None:
        settings, network = encoder.settings, encoder.network
        if not (isinstance(network, Bert) and settings.pooling == "mean" and settings.normalize):
            raise MismatchError("expected encoder.language of params.yaml to be a BERT with normalized means")
        if network.config.model_type != BERT:
            raise MismatchError(f"expected a model of type {BERT}, not {network.config.model_type}")
        self._encoder, self._network = encoder, network
        self.width, self.digest = encoder.width, encoder.digest

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the unit vectors (N, d)."""
        read = [self._encoder.read(text) for text in texts]
        prompted = [self._encoder.settings.prompt + text for text in read]
        tokens = [encoding.ids for encoding in self._encoder.tokenizer.encode_batch(prompted)]
        vectors = np.zeros((len(texts), self.width), np.float32)
        for rows in _equal_lengths(tokens):
            vectors[rows] = self._compute([tokens[row] for row in rows])
        vectors[[bool(text.strip()) and not left for text, left in zip(texts, read, strict=True)]] = 0.0
        return vectors

    def _compute(self, tokens: Sequence[Sequence[int]]) -> Float32Array:
        network, ids = self._network, np.array(tokens)
        states = network.norm(network.tokens[ids] + network.segment + network.positions[: ids.shape[1]])
        for layer in network.layers:
            states = layer(states)
        means = states.mean(axis=1)
        vectors: Float32Array = means / np.linalg.norm(means, axis=1, keepdims=True)
        return vectors

    def check(self, texts: Sequence[str]) -> None:
        """Raise MismatchError if the vectors of texts are not those of the encoder."""
        difference = float(np.abs(self.encode(texts) - self._encoder.encode(texts)).max())
        if difference > MAX_DIFFERENCE:
            raise MismatchError(f"batches change vectors by {difference:.1e}, expected {MAX_DIFFERENCE:.0e}")


class RandomWords:
    """A text's vector is the sum of a random vector for each of its words: it knows no language, only equal words."""

    width, digest = WIDTH, "random words"

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the vectors (N, WIDTH)."""
        sums = [sum(map(_random, split_words(text)), np.zeros(WIDTH)) for text in texts]
        return np.stack(sums).astype(np.float32)


@cache
def _random(word: str) -> Float64Array:
    seed = int(hashlib.sha256(word.encode()).hexdigest()[:16], 16)
    return np.random.default_rng(seed).standard_normal(WIDTH)


def _equal_lengths(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the positions of texts that have as many tokens, at most BATCH at a time."""
    by_length: dict[int, list[int]] = {}
    for row, ids in enumerate(tokens):
        by_length.setdefault(len(ids), []).append(row)
    for rows in by_length.values():
        for start in range(0, len(rows), BATCH):
            yield rows[start : start + BATCH]
