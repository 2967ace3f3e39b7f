"""Baselines that score a benchmark's pool, beside the search of the product (autolora.evaluation.search).

A method scores a block of queries at a time, so the scores of all queries and adapters are never in memory at once. All
leave out the captions of the rendering that a query describes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from autolora.matching.caption_rule import MIN_LENGTH, directions
from autolora.matching.words import split_words
from autolora.metrics.benchmark import Benchmark
from autolora.metrics.bm25 import Bm25, WordCounts
from autolora.storage.arrays import Float64Array

Scores = Callable[[slice], Float64Array]
"""from a slice of the queries to their scores of the pool (B, N); a row of nan if they are undefined"""
RANK_OFFSET = 60
"""k of reciprocal rank fusion, at its usual value (Cormack et al. 2009)"""


def weights_scores(benchmark: Benchmark) -> Scores:
    """Return the method of Eq. 4 and 5: the cosine of the query and the vector of the adapter's weights."""
    vectors = directions(np.asarray(benchmark.adapter_vectors, dtype=np.float64)).T
    return lambda rows: np.asarray(benchmark.query_vectors[rows], dtype=np.float64) @ vectors


def caption_centroid_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's mean caption embedding.

    Relevant adapters are scored without the captions of the described rendering. A query with a relevant adapter
    that has no other caption is a row of nan; any other adapter without captions scores -1.
    """
    captions = benchmark.captions
    without_captions = ~captions.by_adapter.any(axis=1)

    def own_score(vector: Float64Array, others: Float64Array) -> float:
        return float(vector @ directions(others[None])[0]) if np.linalg.norm(others) > MIN_LENGTH else np.nan

    score = _vector_scores(benchmark, directions(captions.by_adapter), own_score)

    def masked(rows: slice) -> Float64Array:
        scores = score(rows)
        undefined = np.isnan(scores).any(axis=1)
        scores[:, without_captions] = -1.0
        scores[undefined] = np.nan
        return scores

    return masked


def bm25_scores(benchmark: Benchmark, counts: WordCounts) -> Scores:
    """Return the method that scores adapters by BM25 of the query and the words of texts about an adapter.

    Relevant adapters are scored without the texts about the described rendering.
    """
    positions = benchmark.positions
    index = Bm25.of(counts.by_adapter)

    def score(rows: slice) -> Float64Array:
        scores = np.empty((len(benchmark.queries[rows]), len(benchmark.adapters)))
        for row, query in enumerate(benchmark.queries[rows]):
            words = split_words(query.text)
            scores[row] = index.score(words)
            for adapter in (positions[sha256] for sha256 in query.adapters):
                described = counts.by_rendering.get((adapter, query.image))
                if described:
                    others = counts.by_adapter[adapter]
                    remaining = {word: count - described.get(word, 0) for word, count in others.items()}
                    scores[row, adapter] = index.score_document(words, remaining)
        return scores

    return score


def fused_scores(methods: Sequence[Scores]) -> Scores:
    """Return the method that scores adapters by the sum of the reciprocals of their ranks, each with an offset.

    Scores that are undefined put an adapter last.
    """

    def score(rows: slice) -> Float64Array:
        total: Float64Array = np.zeros(())
        for method in methods:
            order = np.argsort(-np.nan_to_num(method(rows), nan=-np.inf), axis=1, kind="stable")
            ranks = np.argsort(order, axis=1, kind="stable") + 1.0
            total = total + 1.0 / (RANK_OFFSET + ranks)
        return total

    return score


def _vector_scores(
    benchmark: Benchmark,
    vectors: Float64Array,
    own_score: Callable[[Float64Array, Float64Array], float],
) -> Scores:
    """Return the method that scores adapters by the cosine of the query and these vectors (N, d).

    own_score: the score of a relevant adapter, from the query's vector and the sum of its captions without those of the
    described rendering.
    """
    positions, captions, columns = benchmark.positions, benchmark.captions, vectors.T

    def score(rows: slice) -> Float64Array:
        queries = np.asarray(benchmark.query_vectors[rows], dtype=np.float64)
        scores: Float64Array = queries @ columns
        for row, query in enumerate(benchmark.queries[rows]):
            for adapter in (positions[sha256] for sha256 in query.adapters):
                described = captions.by_rendering.get((adapter, query.image))
                others = captions.by_adapter[adapter] - (0.0 if described is None else described)
                scores[row, adapter] = own_score(queries[row], others)
        return scores

    return score
