"""Okapi BM25 (Robertson et al. 1994): a score of documents by the words that they share with a query."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from autolora.matching.words import split_words
from autolora.storage.arrays import Float64Array, Int64Array

SATURATION, LENGTH_WEIGHT = 1.2, 0.75
"""k1 and b of BM25, at their usual values"""

Document = Mapping[str, int]
"""word -> number of its occurrences"""


@dataclass(frozen=True, slots=True, eq=False)
class WordCounts:
    """The words of texts about the adapters of a pool."""

    by_adapter: tuple[Document, ...]
    """(N,)"""
    by_rendering: Mapping[tuple[int, str], Document]
    """(position in the pool, image) -> the words about that image alone, for the images that queries describe"""


def count_words(texts: Iterable[tuple[int, str, str]], pool: int, images: Collection[str]) -> WordCounts:
    """Count the words of texts, each with the position of its adapter and the image that it describes, or "".

    images: those that queries describe.
    """
    by_adapter: list[Counter[str]] = [Counter() for _ in range(pool)]
    by_rendering: dict[tuple[int, str], Counter[str]] = {}
    for adapter, image, text in texts:
        words = split_words(text)
        by_adapter[adapter].update(words)
        if image in images:
            by_rendering.setdefault((adapter, image), Counter()).update(words)
    return WordCounts(tuple(by_adapter), by_rendering)


@dataclass(frozen=True, slots=True, eq=False)
class Bm25:
    """An inverted index of documents."""

    size: int
    mean_length: float
    """words per document"""
    weights: Mapping[str, float]
    """word -> log(1 + (N - n + .5) / (n + .5)), with n the number of documents that contain it"""
    postings: Mapping[str, tuple[Int64Array, Float64Array]]
    """word -> the documents that contain it, and what it adds to their scores"""

    @classmethod
    def of(cls, documents: Sequence[Document]) -> Self:
        """Index documents (N,)."""
        occurrences: dict[str, list[tuple[int, int]]] = {}
        for position, document in enumerate(documents):
            for word, count in document.items():
                occurrences.setdefault(word, []).append((position, count))
        lengths = np.array([sum(document.values()) for document in documents], dtype=np.float64)
        mean_length = max(float(lengths.mean()), 1.0) if len(documents) else 1.0
        weights, postings = {}, {}
        for word, rows in occurrences.items():
            positions, counts = np.array(rows, dtype=np.int64).T
            weights[word] = math.log(1 + (len(documents) - len(rows) + 0.5) / (len(rows) + 0.5))
            postings[word] = (
                positions,
                weights[word] * _saturate(counts.astype(np.float64), lengths[positions] / mean_length),
            )
        return cls(len(documents), mean_length, weights, postings)

    def score(self, words: Collection[str]) -> Float64Array:
        """Return the scores (N,) of all documents for the distinct words of a query; 0 if none is shared.

        Summed in the order of the words: that of a set differs between processes, and with it the last bits, by which
        documents would win or lose ties.
        """
        scores = np.zeros(self.size)
        for word in sorted(set(words) & self.postings.keys()):
            positions, gains = self.postings[word]
            scores[positions] += gains
        return scores

    def score_document(self, words: Collection[str], document: Document) -> float:
        """Return the score that a changed document would have, with the word weights of the index.

        The score of an unchanged document equals that of `score` to the last bit, so that ties are ties.
        """
        shared = sorted(set(words) & self.weights.keys() & document.keys())
        counts = np.array([document[word] for word in shared], dtype=np.float64)
        weights = np.array([self.weights[word] for word in shared])
        length = np.float64(sum(document.values()) / self.mean_length)
        score = 0.0
        for gain in (weights * _saturate(counts, length)).tolist():
            score += gain
        return score


def _saturate(counts: Float64Array, lengths: Float64Array | np.float64) -> Float64Array:
    """Return the weight of a word that occurs `counts` times in documents; lengths: relative to the mean length."""
    gains: Float64Array = (
        counts * (SATURATION + 1) / (counts + SATURATION * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * lengths))
    )
    return gains
