"""Ranks of a benchmark's relevant adapters, and the tables of metrics that they give.

Levels: those of `relevant_by_level`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from autolora.metrics import retrieval
from autolora.metrics.benchmark import Benchmark
from autolora.metrics.bootstrap import estimates
from autolora.metrics.methods import Scores
from autolora.metrics.retrieval import Relevant
from autolora.params import EvaluationParams
from autolora.storage.arrays import BoolArray, Float64Array, Int64Array

QueryMetrics = dict[str, Float64Array]
"""metric -> its value for each query (Q,), nan if it is undefined for the query"""


def ranks_by_level(
    benchmark: Benchmark, scores: Scores, relevant: Mapping[str, Relevant]
) -> dict[str, Float64Array]:
    """Return level -> rank of each query's first relevant adapter (Q,), nan if it is undefined; block by block."""
    count = len(benchmark.queries)
    ranks = {level: np.full(count, np.nan) for level in relevant}
    for rows in retrieval.blocks(count, len(benchmark.adapters)):
        block = scores(rows)
        for level, positions in relevant.items():
            ranks[level][rows] = _defined_ranks(block, positions[rows])
    return ranks


def query_metrics(ranks: Float64Array, ks: Sequence[int]) -> QueryMetrics:
    """Return R@k and MRR of each query from the rank of its first relevant adapter (Q,); nan if undefined."""
    return {f"R@{k}": retrieval.recall(ranks, k) for k in ks} | {"MRR": retrieval.reciprocal(ranks)}


def chance_metrics(counts: Int64Array, pools: Int64Array, ks: Sequence[int]) -> QueryMetrics:
    """Return the exact expectation of R@k and MRR of each query under a random order of its pool; nan if undefined.

    counts, pools: numbers (Q,) of its relevant adapters and of all adapters in the pool.
    """
    defined: BoolArray = (counts > 0) & (pools >= counts)
    counts, pools = counts[defined], pools[defined]
    values = {f"R@{k}": retrieval.chance_recall(counts, pools, k) for k in ks}
    values["MRR"] = retrieval.chance_reciprocal(counts, pools)
    return {metric: _fill(value, defined) for metric, value in values.items()}


def compare_ranks(
    benchmark: Benchmark,
    ranks: Mapping[str, Mapping[str, Float64Array]],
    relevant: Mapping[str, Relevant],
    params: EvaluationParams,
) -> dict[str, Any]:
    """Return level -> each method's metrics, clustered by the adapter that a query is about.

    ranks: method -> level -> rank of each query's first relevant adapter (Q,). Beside the methods stands `random`, the
    exact expectation under a random order of the pool.
    """
    clusters = np.array([query.adapters[0] for query in benchmark.queries])
    levels = {}
    for level, positions in relevant.items():
        counts = np.array([len(group) for group in positions], dtype=np.int64)
        tables = {name: query_metrics(by_level[level], params.ks) for name, by_level in ranks.items()}
        tables["random"] = chance_metrics(counts, np.full_like(counts, len(benchmark.adapters)), params.ks)
        levels[level] = {"methods": _estimates(tables, counts > 0, clusters, params)}
    return levels


def _defined_ranks(scores: Float64Array, relevant: Relevant) -> Float64Array:
    """Return the ranks (B,) of a block's first relevant items; nan without scores or without a relevant item."""
    has_relevant = np.array([len(positions) > 0 for positions in relevant], dtype=np.bool_)
    defined: BoolArray = has_relevant & ~np.isnan(scores[:, 0])
    if defined.all():
        return retrieval.ranks(scores, relevant).astype(np.float64)
    selected = [relevant[row] for row in np.flatnonzero(defined).tolist()]
    return _fill(retrieval.ranks(scores[defined], selected).astype(np.float64), defined)


def _estimates(
    tables: Mapping[str, QueryMetrics], defined: BoolArray, clusters: Any, params: EvaluationParams
) -> dict[str, dict[str, Any]]:
    """Estimate every metric of every table over the queries that have a relevant adapter; all share their draws."""
    if not defined.any():
        return {}
    columns = {
        (name, metric): values[defined]
        for name, metrics in tables.items()
        for metric, values in metrics.items()
    }
    results: dict[str, dict[str, Any]] = {name: {} for name in tables}
    found = estimates(columns, clusters[defined].tolist(), params.bootstrap, params.seed)
    for (name, metric), estimate in found.items():
        results[name][metric] = asdict(estimate)
    return results


def _fill(values: Float64Array, defined: BoolArray) -> Float64Array:
    """Return values (C,) at the C positions that are defined (Q,), nan elsewhere: (Q,)."""
    filled = np.full(len(defined), np.nan)
    filled[defined] = values
    return filled
