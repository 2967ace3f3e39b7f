"""The methods that score a benchmark's pool: `encoder`, by the vectors of the weights, and `hybrid`, by weights and
captions as the index combines them, but for captions of the rendering that the query describes.

A method scores a block of queries at a time, so the scores of all queries and adapters are never in memory at once.
"""

from collections.abc import Callable

import numpy as np

from autolora.matching.hybrid import combine, directions
from autolora.metrics.benchmark import Benchmark
from autolora.storage.arrays import Float64Array

Scores = Callable[[slice], Float64Array]
"""from a slice of the queries to their scores of the pool (B, N); a row of nan if they are undefined"""


def encoder_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's vector."""
    vectors = directions(np.asarray(benchmark.adapter_vectors, dtype=np.float64)).T
    return lambda rows: np.asarray(benchmark.query_vectors[rows], dtype=np.float64) @ vectors


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
    return vector_scores(benchmark, vectors, own_score)


def vector_scores(
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
