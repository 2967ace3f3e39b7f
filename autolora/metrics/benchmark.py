"""A retrieval benchmark: queries with their relevant adapters, methods that score the pool, and tables of metrics.

Methods: `encoder` (the index's vectors), `caption centroid` (the mean text embedding of an adapter's captions,
without those of the rendering that the query describes, so that no query meets its own caption), and `random`
(the exact expectation under a random order).
Levels: `adapter` (relevant are the adapters whose galleries show the described rendering) and `theme` (relevant
are all adapters of their themes; only if themes are judged).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autolora.metrics import retrieval
from autolora.metrics.bootstrap import estimate
from autolora.params import EvaluationParams
from autolora.storage.arrays import BoolArray, Float64Array

MAX_EXAMPLES = 8
HITS_PER_EXAMPLE = 3

QueryMetrics = dict[str, Float64Array]
"""metric -> its value for each query (Q,), nan if it is undefined for the query"""


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
    vector: Float64Array
    """unit text embedding (d,)"""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A pool of adapters, its captions, queries with their relevant adapters, and judged themes."""

    adapters: tuple[str, ...]
    """sha256 of the pool (N,)"""
    adapter_vectors: Float64Array
    """(N, d), unit rows"""
    captions: tuple[EmbeddedCaption, ...]
    """every caption of the pool"""
    queries: tuple[Query, ...]
    query_vectors: Float64Array
    """(Q, d), unit rows"""
    themes: dict[str, str]
    """adapter sha256 -> theme; empty without judgments"""

    @property
    def positions(self) -> dict[str, int]:
        """Return adapter sha256 -> position in the pool."""
        return {sha256: position for position, sha256 in enumerate(self.adapters)}


def encoder_scores(benchmark: Benchmark) -> Float64Array:
    """Return the cosine of each query and each adapter's vector: (Q, N)."""
    return benchmark.query_vectors @ benchmark.adapter_vectors.T


def caption_centroid_scores(benchmark: Benchmark) -> Float64Array:
    """Return the cosine of each query and each adapter's mean caption embedding: (Q, N).

    Relevant adapters are scored without the captions of the described rendering. A query with a relevant adapter
    that has no other caption is a row of nan; any other adapter without captions scores -1.
    """
    sums = _caption_sums(benchmark)
    totals = np.zeros_like(benchmark.adapter_vectors)
    for (adapter, _), vector in sums.items():
        totals[adapter] += vector
    scores: Float64Array = benchmark.query_vectors @ _unit(totals).T
    scores[:, ~totals.any(axis=1)] = -1.0
    positions = benchmark.positions
    for row, query in enumerate(benchmark.queries):
        for adapter in (positions[sha256] for sha256 in query.adapters):
            others = totals[adapter] - sums.get((adapter, query.image), 0.0)
            has_others = np.linalg.norm(others) > 1e-6
            cosine = benchmark.query_vectors[row] @ _unit(others[None])[0]
            scores[row, adapter] = cosine if has_others else np.nan
    scores[np.isnan(scores).any(axis=1)] = np.nan
    return scores


def relevant_by_level(benchmark: Benchmark) -> dict[str, BoolArray]:
    """Return level -> which adapters are relevant to which query (Q, N); no theme level without judgments."""
    positions, themes = benchmark.positions, benchmark.themes
    members: dict[str, list[int]] = {}
    for sha256, position in positions.items():
        members.setdefault(themes.get(sha256, sha256), []).append(position)
    levels = {"adapter": np.zeros((len(benchmark.queries), len(positions)), dtype=np.bool_)}
    if themes:
        levels["theme"] = np.zeros_like(levels["adapter"])
    for row, query in enumerate(benchmark.queries):
        for sha256 in query.adapters:
            levels["adapter"][row, positions[sha256]] = True
            if sha256 in themes:
                levels["theme"][row, members[themes[sha256]]] = True
    return levels


def query_metrics(scores: Float64Array, relevant: BoolArray, ks: Sequence[int]) -> QueryMetrics:
    """Return R@k and MRR of each query from scores (Q, N) and relevance (Q, N); nan if undefined."""
    defined: BoolArray = np.asarray(relevant.any(axis=1) & ~np.isnan(scores).any(axis=1))
    rank = retrieval.ranks(scores[defined], relevant[defined])
    values = {f"R@{k}": retrieval.recall(rank, k) for k in ks} | {"MRR": retrieval.reciprocal(rank)}
    return {metric: _fill(value, defined) for metric, value in values.items()}


def chance_metrics(relevant: BoolArray, ks: Sequence[int]) -> QueryMetrics:
    """Return the exact expectation of R@k and MRR of each query under a random order; nan if undefined."""
    defined: BoolArray = np.asarray(relevant.any(axis=1))
    values = {f"R@{k}": retrieval.chance_recall(relevant[defined], k) for k in ks}
    values["MRR"] = retrieval.chance_reciprocal(relevant[defined])
    return {metric: _fill(value, defined) for metric, value in values.items()}


def compare_methods(benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Return level -> each method's metrics and the encoder's paired differences; empty without queries.

    A method that is undefined for every query is left out.
    """
    if not benchmark.queries:
        return {}
    scores = {"encoder": encoder_scores(benchmark), "caption centroid": caption_centroid_scores(benchmark)}
    levels = {}
    for level, relevant in relevant_by_level(benchmark).items():
        methods = {name: query_metrics(value, relevant, params.ks) for name, value in scores.items()}
        methods["random"] = chance_metrics(relevant, params.ks)
        encoder = methods["encoder"]
        differences = {
            f"encoder − {name}": {metric: encoder[metric] - values[metric] for metric in encoder}
            for name, values in methods.items()
            if name != "encoder"
        }
        levels[level] = {
            "methods": _estimates(methods, benchmark, params),
            "differences": _estimates(differences, benchmark, params),
        }
    return levels


def index_health(benchmark: Benchmark, ks: Sequence[int]) -> dict[str, Any]:
    """Return how evenly the index answers the queries, at the largest k; empty without queries."""
    if not benchmark.queries:
        return {}
    health = retrieval.health(encoder_scores(benchmark), min(max(ks), len(benchmark.adapters)))
    return asdict(health) | {"most_retrieved": benchmark.adapters[health.most_retrieved]}


def example_searches(benchmark: Benchmark, seed: int) -> list[dict[str, Any]]:
    """Return a few queries with their best hits: drawn by `seed`, at most one per theme (or adapter)."""
    scores = encoder_scores(benchmark)
    order = np.random.default_rng(seed).permutation(len(benchmark.queries)).tolist()
    rows: dict[str, int] = {}
    for row in order:
        adapter = benchmark.queries[row].adapters[0]
        rows.setdefault(benchmark.themes.get(adapter, adapter), row)
    return [_example(benchmark, row, scores[row]) for _, row in sorted(rows.items())[:MAX_EXAMPLES]]


def _example(benchmark: Benchmark, row: int, scores: Float64Array) -> dict[str, Any]:
    query = benchmark.queries[row]
    themes = {benchmark.themes[sha256] for sha256 in query.adapters if sha256 in benchmark.themes}
    hits = []
    for position in np.argsort(-scores, kind="stable")[:HITS_PER_EXAMPLE].tolist():
        sha256 = benchmark.adapters[position]
        hits.append(
            {
                "sha256": sha256,
                "score": float(scores[position]),
                "same adapter": sha256 in query.adapters,
                "same theme": benchmark.themes.get(sha256) in themes,
            }
        )
    return {"text": query.text, "image": query.image, "themes": sorted(themes), "hits": hits}


def _estimates(
    methods: dict[str, QueryMetrics], benchmark: Benchmark, params: EvaluationParams
) -> dict[str, Any]:
    """Estimate every metric of every method, clustered by the adapter that the query belongs to."""
    clusters = np.array([query.adapters[0] for query in benchmark.queries])
    tables = {}
    for method, metrics in methods.items():
        defined = ~np.isnan(metrics["MRR"])
        if defined.any():
            labels = clusters[defined].tolist()
            tables[method] = {
                metric: asdict(estimate(values[defined], labels, params.bootstrap, params.seed))
                for metric, values in metrics.items()
            }
    return tables


def _caption_sums(benchmark: Benchmark) -> dict[tuple[int, str], Float64Array]:
    """Return the sum of the caption embeddings of each rendering: (pool position, image) -> (d,)."""
    sums: dict[tuple[int, str], Float64Array] = {}
    for caption in benchmark.captions:
        key = caption.adapter, caption.image
        sums[key] = sums.get(key, 0.0) + caption.vector
    return sums


def _fill(values: Float64Array, defined: BoolArray) -> Float64Array:
    """Return values (C,) at the C positions that are defined (Q,), nan elsewhere: (Q,)."""
    filled = np.full(len(defined), np.nan)
    filled[defined] = values
    return filled


def _unit(rows: Float64Array) -> Float64Array:
    unit: Float64Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
