"""Baselines that score a benchmark's pool, beside the search of the product (autolora.evaluation.search).

A method scores a block of queries at a time, so the scores of all queries and adapters are never in memory at once. All
leave out the captions of the rendering that a query describes.
"""

from collections.abc import Callable

import numpy as np

from autolora.matching.caption_rule import MIN_LENGTH, directions
from autolora.metrics.benchmark import Benchmark
from autolora.storage.arrays import Float64Array

Scores = Callable[[slice], Float64Array]
"""from a slice of the queries to their scores of the pool (B, N); a row of nan if they are undefined"""


def weights_scores(benchmark: Benchmark) -> Scores:
    """Return the method of Eq. 4 and 5: the cosine of the query and the vector of the adapter's weights."""
    vectors = directions(np.asarray(benchmark.adapter_vectors, dtype=np.float64)).T
    return lambda rows: np.asarray(benchmark.query_vectors[rows], dtype=np.float64) @ vectors


def caption_centroid_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's mean caption embedding.

    Relevant adapters are scored without the captions of the described rendering. A query with a relevant adapter
    that has no other caption is a row of nan; any other adapter without captions scores -1.
    """
    positions, captions = benchmark.positions, benchmark.captions
    centroids, has_captions = directions(captions.by_adapter).T, captions.by_adapter.any(axis=1)

    def score(rows: slice) -> Float64Array:
        vectors = np.asarray(benchmark.query_vectors[rows], dtype=np.float64)
        scores: Float64Array = np.where(has_captions, vectors @ centroids, -1.0)
        for row, query in enumerate(benchmark.queries[rows]):
            for adapter in (positions[sha256] for sha256 in query.adapters):
                others = captions.by_adapter[adapter] - captions.by_rendering.get((adapter, query.image), 0.0)
                if np.linalg.norm(others) <= MIN_LENGTH:
                    scores[row] = np.nan
                    break
                scores[row, adapter] = vectors[row] @ directions(others[None])[0]
        return scores

    return score
