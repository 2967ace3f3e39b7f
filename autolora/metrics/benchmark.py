"""A retrieval benchmark: a pool, queries with their relevant adapters, and the methods that score the pool.

Methods: `encoder` (the vectors of the weights), `caption centroid` (the mean text embedding of an adapter's captions),
and `hybrid` (both, as the index combines them). The last two leave out the captions of the rendering that the query
describes, so that no query meets its own caption. A method scores a block of queries at a time, so the scores of all
queries and adapters are never in memory at once.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from autolora.matching.hybrid import MIN_LENGTH, combine
from autolora.metrics.retrieval import Relevant
from autolora.storage.arrays import Float64Array, Int64Array

Scores = Callable[[slice], Float64Array]
"""from a slice of the queries to their scores of the pool (B, N); a row of nan if they are undefined"""


@dataclass(frozen=True, slots=True)
class Query:
    """A caption, the rendering that it describes, and the adapters whose galleries show that rendering."""

    text: str
    image: str
    """sha256 of the rendering"""
    adapters: tuple[str, ...]
    """sha256 of the relevant adapters; the first is the cluster of the bootstrap"""


@dataclass(frozen=True, slots=True)
class EmbeddedCaption:
    """One caption of an adapter in the pool."""

    adapter: int
    """position in the pool"""
    image: str
    """sha256 of the rendering that it describes"""
    vector: NDArray[np.floating]
    """unit text embedding (d,)"""


@dataclass(frozen=True, slots=True, eq=False)
class CaptionSums:
    """Sums of the text embeddings of the pool's captions."""

    by_adapter: Float64Array
    """(N, d), zeros for an adapter without captions"""
    by_rendering: Mapping[tuple[int, str], Float64Array]
    """(position in the pool, image) -> (d,), for the images that queries describe"""
    renderings: Int64Array
    """(N,) number of each adapter's renderings with captions"""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A pool of adapters, its captions, queries with their relevant adapters, and judged themes."""

    adapters: tuple[str, ...]
    """sha256 of the pool (N,)"""
    adapter_vectors: NDArray[np.floating]
    """(N, d), unit rows"""
    captions: CaptionSums
    """of every caption of the pool"""
    queries: tuple[Query, ...]
    query_vectors: NDArray[np.floating]
    """(Q, d), unit rows"""
    themes: dict[str, str]
    """adapter sha256 -> theme; empty without judgments"""
    training: frozenset[str]
    """sha256 of the adapters that the encoder was trained on"""
    min_agreement: float | None
    """cosine of weights and captions from which the index combines them; None: it holds the weights alone"""

    @property
    def positions(self) -> dict[str, int]:
        """Return adapter sha256 -> position in the pool."""
        return {sha256: position for position, sha256 in enumerate(self.adapters)}


def sum_captions(
    captions: Iterable[EmbeddedCaption], shape: tuple[int, int], images: Collection[str]
) -> CaptionSums:
    """Return the sums of embedded captions, which are read once, in the order of adapters and their renderings.

    shape: (N, d). images: those that queries describe.
    """
    by_adapter = np.zeros(shape)
    by_rendering: dict[tuple[int, str], Float64Array] = {}
    renderings = np.zeros(shape[0], dtype=np.int64)
    for (adapter, image), group in groupby(captions, lambda caption: (caption.adapter, caption.image)):
        total = np.zeros(shape[1])
        for caption in group:
            total += caption.vector
        by_adapter[adapter] += total
        renderings[adapter] += 1
        if image in images:
            by_rendering[adapter, image] = by_rendering.get((adapter, image), 0.0) + total
    return CaptionSums(by_adapter, by_rendering, renderings)


def encoder_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's vector."""
    vectors = np.asarray(benchmark.adapter_vectors, dtype=np.float64).T
    return lambda rows: np.asarray(benchmark.query_vectors[rows], dtype=np.float64) @ vectors


def index_scores(benchmark: Benchmark) -> Scores:
    """Return the method by which the index answers: the hybrid if it holds hybrid vectors, else the encoder."""
    return encoder_scores(benchmark) if benchmark.min_agreement is None else hybrid_scores(benchmark)


def caption_centroid_scores(benchmark: Benchmark) -> Scores:
    """Return the method that scores adapters by the cosine of the query and the adapter's mean caption embedding.

    Relevant adapters are scored without the captions of the described rendering. A query with a relevant adapter
    that has no other caption is a row of nan; any other adapter without captions scores -1.
    """
    captions = benchmark.captions
    without_captions = ~captions.by_adapter.any(axis=1)

    def own_score(vector: Float64Array, adapter: int, others: Float64Array, renderings: int) -> float:
        return float(vector @ _unit(others[None])[0]) if np.linalg.norm(others) > MIN_LENGTH else np.nan

    score = _scores(benchmark, _unit(captions.by_adapter), own_score)

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
    captions, min_agreement = benchmark.captions, benchmark.min_agreement
    assert min_agreement is not None, "the index holds no hybrid vectors"
    weights = np.asarray(benchmark.adapter_vectors, dtype=np.float64)

    def own_score(vector: Float64Array, adapter: int, others: Float64Array, renderings: int) -> float:
        vectors, _ = combine(weights[[adapter]], others[None], np.array([renderings]), min_agreement)
        return float(vector @ vectors[0])

    vectors, _ = combine(weights, captions.by_adapter, captions.renderings, min_agreement)
    return _scores(benchmark, vectors, own_score)


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


def unseen_index(benchmark: Benchmark) -> Benchmark:
    """Return the benchmark of the adapters alone that the encoder was not trained on, with the queries about them.

    In the whole index a training adapter of the right theme may be found in place of the query's own adapter.
    """
    kept = [
        position for position, sha256 in enumerate(benchmark.adapters) if sha256 not in benchmark.training
    ]
    rows = {position: row for row, position in enumerate(kept)}
    adapters = tuple(benchmark.adapters[position] for position in kept)
    about = [
        row for row, query in enumerate(benchmark.queries) if benchmark.training.isdisjoint(query.adapters)
    ]
    by_rendering = {
        (rows[position], image): total
        for (position, image), total in benchmark.captions.by_rendering.items()
        if position in rows
    }
    return replace(
        benchmark,
        adapters=adapters,
        adapter_vectors=benchmark.adapter_vectors[kept],
        captions=CaptionSums(
            benchmark.captions.by_adapter[kept], by_rendering, benchmark.captions.renderings[kept]
        ),
        queries=tuple(benchmark.queries[row] for row in about),
        query_vectors=benchmark.query_vectors[about],
    )


def relevant_by_level(benchmark: Benchmark) -> dict[str, Relevant]:
    """Return level -> positions of each query's relevant adapters, each once; no theme levels without judgments.

    Levels: `adapter`; `theme`, all adapters of the query's themes; and the same for the queries with a theme of which
    the encoder was trained on an adapter (`seen theme`), and for the others (`absent theme`). A query that does not
    belong to a level has no relevant adapter there.
    """
    positions, themes = benchmark.positions, benchmark.themes
    members: dict[str, list[int]] = {}
    for sha256, position in positions.items():
        if sha256 in themes:
            members.setdefault(themes[sha256], []).append(position)
    arrays = {theme: np.array(group, dtype=np.int64) for theme, group in members.items()}

    def of_theme(query: Query) -> Int64Array:
        groups = [
            arrays[theme] for theme in {themes[sha256] for sha256 in query.adapters if sha256 in themes}
        ]
        return groups[0] if len(groups) == 1 else np.concatenate([np.empty(0, dtype=np.int64), *groups])

    levels: dict[str, Relevant] = {
        "adapter": [
            np.unique([positions[sha256] for sha256 in query.adapters]) for query in benchmark.queries
        ]
    }
    if not themes:
        return levels
    none = np.empty(0, dtype=np.int64)
    levels["theme"] = [of_theme(query) for query in benchmark.queries]
    trained = {themes[sha256] for sha256 in benchmark.training if sha256 in themes}
    is_seen = [any(themes.get(sha256) in trained for sha256 in query.adapters) for query in benchmark.queries]
    for level, wanted in (("seen theme", True), ("absent theme", False)):
        levels[level] = [
            positions if seen == wanted else none
            for positions, seen in zip(levels["theme"], is_seen, strict=True)
        ]
    return levels


def _unit(rows: Float64Array) -> Float64Array:
    unit: Float64Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
