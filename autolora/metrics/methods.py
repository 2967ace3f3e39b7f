"""The methods that score a benchmark's pool: what the index answers, and baselines.

`encoder` (the vectors of the weights) and `hybrid` (weights and captions, as the index combines them) are the index's.
Baselines: `caption centroid`, the mean text embedding of an adapter's captions; `BM25 of captions` and `BM25 of
metadata`, the words that a text shares with the query; `PCA of weights`, which learns nothing from texts. All that use
texts leave out those about the rendering that the query describes, so that no query meets its own caption.
A method scores a block of queries at a time, so the scores of all queries and adapters are never in memory at once.
"""

from collections.abc import Callable, Mapping

import numpy as np

from autolora.matching.hybrid import MIN_LENGTH, combine, directions
from autolora.matching.words import split_words
from autolora.metrics.benchmark import Benchmark, Texts
from autolora.metrics.bm25 import Bm25
from autolora.storage.arrays import Float64Array

Scores = Callable[[slice], Float64Array]
"""from a slice of the queries to their scores of the pool (B, N); a row of nan if they are undefined"""


def encoder_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's vector."""
    vectors = directions(np.asarray(benchmark.adapter_vectors, dtype=np.float64)).T
    return lambda rows: np.asarray(benchmark.query_vectors[rows], dtype=np.float64) @ vectors


def index_scores(benchmark: Benchmark) -> Scores:
    """Return the method by which the index answers: the hybrid if it holds hybrid vectors, else the encoder."""
    return encoder_scores(benchmark) if benchmark.rule is None else hybrid_scores(benchmark)


def caption_centroid_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's mean caption embedding.

    Relevant adapters are scored without the captions of the described rendering. A query with a relevant adapter
    that has no other caption is a row of nan; any other adapter without captions scores -1.
    """
    captions = benchmark.captions
    without_captions = ~captions.by_adapter.any(axis=1)

    def own_score(vector: Float64Array, adapter: int, others: Float64Array, renderings: int) -> float:
        return float(vector @ directions(others[None])[0]) if np.linalg.norm(others) > MIN_LENGTH else np.nan

    score = _scores(benchmark, directions(captions.by_adapter), own_score)

    def masked(rows: slice) -> Float64Array:
        scores = score(rows)
        undefined = np.isnan(scores).any(axis=1)
        scores[:, without_captions] = -1.0
        scores[undefined] = np.nan
        return scores

    return masked


def hybrid_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's hybrid vector.

    Relevant adapters are scored by their hybrid without the captions of the described rendering.
    """
    captions, rule = benchmark.captions, benchmark.rule
    assert rule is not None, "the index holds no hybrid vectors"
    weights = np.asarray(benchmark.adapter_vectors, dtype=np.float64)

    def own_score(vector: Float64Array, adapter: int, others: Float64Array, renderings: int) -> float:
        vectors, _ = combine(weights[[adapter]], others[None], np.array([renderings]), rule)
        return float(vector @ vectors[0])

    vectors, _ = combine(weights, captions.by_adapter, captions.renderings, rule)
    return _scores(benchmark, vectors, own_score)


def bm25_scores(benchmark: Benchmark, texts: Texts) -> Scores:
    """Return the method that scores adapters by BM25 of the query and the texts about an adapter.

    Relevant adapters are scored without the texts about the described rendering.
    """
    positions, counts = benchmark.positions, benchmark.words[texts]
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


def pca_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of principal components of their weights with those of an
    anchor: the training adapter whose captions are nearest to the query. The anchor itself is scored -1.
    """
    anchors, positions = benchmark.anchors, benchmark.positions
    components = benchmark.components.T
    own = np.array([positions.get(sha256, -1) for sha256 in anchors.adapters], dtype=np.int64)

    def score(rows: slice) -> Float64Array:
        queries = np.asarray(benchmark.query_vectors[rows], dtype=np.float64)
        if not len(own):
            return np.full((len(queries), len(benchmark.adapters)), np.nan)
        nearest = (queries @ anchors.captions.T).argmax(axis=1)
        scores: Float64Array = anchors.components[nearest] @ components
        excluded = np.flatnonzero(own[nearest] >= 0)
        scores[excluded, own[nearest][excluded]] = -1.0
        return scores

    return score


BASELINES: Mapping[str, Callable[[Benchmark], Scores]] = {
    "caption centroid": caption_centroid_scores,
    "BM25 of captions": lambda benchmark: bm25_scores(benchmark, "captions"),
    "BM25 of metadata": lambda benchmark: bm25_scores(benchmark, "metadata"),
    "PCA of weights": pca_scores,
}


def _scores(
    benchmark: Benchmark,
    vectors: Float64Array,
    own_score: Callable[[Float64Array, int, Float64Array, int], float],
) -> Scores:
    """Return the method that scores adapters by the cosine of the query and these vectors (N, d).

    own_score: the score of a relevant adapter, from the query's vector, the adapter's position, the sum of its captions
    without those of the described rendering, and the number of its other renderings.
    """
    positions, captions, columns = benchmark.positions, benchmark.captions, vectors.T

    def score(rows: slice) -> Float64Array:
        queries = np.asarray(benchmark.query_vectors[rows], dtype=np.float64)
        scores: Float64Array = queries @ columns
        for row, query in enumerate(benchmark.queries[rows]):
            for adapter in (positions[sha256] for sha256 in query.adapters):
                described = captions.by_rendering.get((adapter, query.image))
                others = captions.by_adapter[adapter] - (0.0 if described is None else described)
                renderings = int(captions.renderings[adapter]) - (described is not None)
                scores[row, adapter] = own_score(queries[row], adapter, others, renderings)
        return scores

    return score
