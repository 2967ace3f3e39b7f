"""Searches of a benchmark's pool, and what they show: tables of metrics by level, and index health.

Methods: those of autolora/metrics/methods.py, and exact expectations under a random order: of the pool (`random`), and
at the level `adapter` of the adapters of the right theme alone (`random within theme`), which no method exceeds unless
it tells adapters of one theme apart.
Levels: those of `relevant_by_level`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autolora.metrics import retrieval
from autolora.metrics.benchmark import Benchmark, relevant_by_level, unseen_index
from autolora.metrics.bootstrap import estimates
from autolora.metrics.methods import BASELINES, Scores, encoder_scores, index_scores
from autolora.metrics.retrieval import Relevant
from autolora.params import EvaluationParams
from autolora.storage.arrays import BoolArray, Float64Array, Int64Array

QueryMetrics = dict[str, Float64Array]
"""metric -> its value for each query (Q,), nan if it is undefined for the query"""


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """What the scores of one method give for each query."""

    ranks: dict[str, Float64Array]
    """level -> rank of the first relevant adapter (Q,), nan if it is undefined"""
    hits: Int64Array
    """positions of the best adapters (Q, H), best first"""
    scores: Float64Array
    """of the hits (Q, H)"""


def search(
    benchmark: Benchmark, scores: Scores, relevant: Mapping[str, Relevant], num_hits: int = 0
) -> Searches:
    """Return the ranks at each level and the `num_hits` best adapters of each query, block by block."""
    count = len(benchmark.queries)
    num_hits = min(num_hits, len(benchmark.adapters))
    ranks = {level: np.full(count, np.nan) for level in relevant}
    hits, hit_scores = np.empty((count, num_hits), dtype=np.int64), np.empty((count, num_hits))
    for rows in retrieval.blocks(count, len(benchmark.adapters)):
        block = scores(rows)
        for level, positions in relevant.items():
            ranks[level][rows] = _defined_ranks(block, positions[rows])
        hits[rows] = retrieval.best_items(block, num_hits) if num_hits else 0
        hit_scores[rows] = np.take_along_axis(block, hits[rows], axis=1)
    return Searches(ranks, hits, hit_scores)


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


def chance_by_level(
    relevant: Mapping[str, Relevant], pool: int, ks: Sequence[int]
) -> dict[str, dict[str, QueryMetrics]]:
    """Return level -> `random`, and at the level `adapter` also `random within theme` -> metrics of each query."""
    counts = {
        level: np.array([len(positions) for positions in by_query], dtype=np.int64)
        for level, by_query in relevant.items()
    }
    tables = {
        level: {"random": chance_metrics(numbers, np.full_like(numbers, pool), ks)}
        for level, numbers in counts.items()
    }
    if "theme" in counts:
        tables["adapter"]["random within theme"] = chance_metrics(counts["adapter"], counts["theme"], ks)
    return tables


def search_index(benchmark: Benchmark, relevant: Mapping[str, Relevant], ks: Sequence[int]) -> Searches:
    """Return the searches of the index, with as many hits as its health needs."""
    return search(benchmark, index_scores(benchmark), relevant, max(*ks, 2))


def compare_methods(
    benchmark: Benchmark, searches: Searches, relevant: Mapping[str, Relevant], params: EvaluationParams
) -> dict[str, Any]:
    """Return level -> each method's metrics and the paired differences of the index's method to the others; empty
    without queries.

    searches: of the index. A method that is undefined for every query is left out.
    """
    if not benchmark.queries:
        return {}
    ranks = {"encoder": searches.ranks}
    if benchmark.rule is not None:
        encoder = search(benchmark, encoder_scores(benchmark), relevant)
        ranks = {"hybrid": searches.ranks, "encoder": encoder.ranks}
    of_index = next(iter(ranks))
    ranks |= {
        name: search(benchmark, scores(benchmark), relevant).ranks for name, scores in BASELINES.items()
    }
    chance = chance_by_level(relevant, len(benchmark.adapters), params.ks)
    levels = {}
    for level in relevant:
        methods = {name: query_metrics(by_level[level], params.ks) for name, by_level in ranks.items()}
        methods |= chance[level]
        differences = {
            f"{of_index} − {name}": {metric: methods[of_index][metric] - values[metric] for metric in values}
            for name, values in methods.items()
            if name != of_index
        }
        tables = _estimates(methods | differences, benchmark, params)
        levels[level] = {
            "methods": {name: tables[name] for name in methods if name in tables},
            "differences": {name: tables[name] for name in differences if name in tables},
        }
    return levels


def compare_in_unseen_index(benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Return what `compare_methods` returns for an index of the adapters alone that the encoder was not trained on."""
    restricted = unseen_index(benchmark)
    relevant = relevant_by_level(restricted)
    return compare_methods(
        restricted, search(restricted, index_scores(restricted), relevant), relevant, params
    )


def index_health(benchmark: Benchmark, searches: Searches, ks: Sequence[int]) -> dict[str, Any]:
    """Return how evenly the index answers the queries, at the largest k; empty without queries."""
    if not benchmark.queries:
        return {}
    pool = len(benchmark.adapters)
    return asdict(retrieval.health(searches.hits, searches.scores, pool, min(max(ks), pool)))


def _defined_ranks(scores: Float64Array, relevant: Relevant) -> Float64Array:
    """Return the ranks (B,) of a block's first relevant items; nan without scores or without a relevant item."""
    has_relevant = np.array([len(positions) > 0 for positions in relevant], dtype=np.bool_)
    defined: BoolArray = has_relevant & ~np.isnan(scores[:, 0])
    if defined.all():
        return retrieval.ranks(scores, relevant).astype(np.float64)
    selected = [relevant[row] for row in np.flatnonzero(defined).tolist()]
    return _fill(retrieval.ranks(scores[defined], selected).astype(np.float64), defined)


def _estimates(
    tables: Mapping[str, QueryMetrics], benchmark: Benchmark, params: EvaluationParams
) -> dict[str, dict[str, Any]]:
    """Estimate every metric of every table, clustered by the adapter that the query belongs to.

    Tables that are defined for the same queries share their draws; a table that is defined for none is left out.
    """
    clusters = np.array([query.adapters[0] for query in benchmark.queries])
    masks = {name: ~np.isnan(metrics["MRR"]) for name, metrics in tables.items()}
    results: dict[str, dict[str, Any]] = {name: {} for name, mask in masks.items() if mask.any()}
    for mask in {masks[name].tobytes(): masks[name] for name in results}.values():
        columns = {
            (name, metric): values[mask]
            for name in results
            if np.array_equal(masks[name], mask)
            for metric, values in tables[name].items()
        }
        found = estimates(columns, clusters[mask].tolist(), params.bootstrap, params.seed)
        for (name, metric), estimate in found.items():
            results[name][metric] = asdict(estimate)
    return results


def _fill(values: Float64Array, defined: BoolArray) -> Float64Array:
    """Return values (C,) at the C positions that are defined (Q,), nan elsewhere: (Q,)."""
    filled = np.full(len(defined), np.nan)
    filled[defined] = values
    return filled
