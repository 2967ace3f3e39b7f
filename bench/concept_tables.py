"""Estimates for `bench.concepts`: R@1, R@3 and MRR of each method by index and level, and paired differences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from autolora.metrics.benchmark import Benchmark, relevant_by_level
from autolora.metrics.bootstrap import Estimate, cluster_means, estimates
from autolora.metrics.comparison import chance_by_level, query_metrics, search
from autolora.metrics.methods import Scores
from autolora.params import EvaluationParams
from autolora.storage.arrays import Float64Array
from bench.retrieval import indexes

KS = (1, 3)
LEVELS = ("theme", "seen theme", "absent theme")
Method = Callable[[Benchmark], Scores]
Column = tuple[str, str, str]
"""index, level and metric"""
QueryKey = tuple[str, str, str]
"""LoRA, rendering and text of a query; the LoRA is the cluster of the bootstrap"""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a method found for each query."""

    columns: Mapping[Column, Float64Array]
    """values (Q,) of the queries, nan if they are undefined"""
    queries: Mapping[str, tuple[QueryKey, ...]]
    """index -> the queries (Q,)"""


def measure(benchmark: Benchmark, method: Method) -> Outcome:
    """Return the outcome of a method in the whole index and in that of unseen LoRAs."""
    columns = {}
    for index, restricted in indexes(benchmark).items():
        relevant = relevant_by_level(restricted)
        ranks = search(restricted, method(restricted), {level: relevant[level] for level in LEVELS}).ranks
        for level in LEVELS:
            for metric, values in query_metrics(ranks[level], KS).items():
                columns[index, level, metric] = values
    return Outcome(columns, _keys(benchmark))


def measure_chance(benchmark: Benchmark) -> Outcome:
    """Return the exact expectations under a random order."""
    columns = {}
    for index, restricted in indexes(benchmark).items():
        chance = chance_by_level(relevant_by_level(restricted), len(restricted.adapters), KS)
        for level in LEVELS:
            for metric, values in chance[level]["random"].items():
                columns[index, level, metric] = values
    return Outcome(columns, _keys(benchmark))


def _keys(benchmark: Benchmark) -> dict[str, tuple[QueryKey, ...]]:
    return {
        index: tuple((query.adapters[0], query.image, query.text) for query in restricted.queries)
        for index, restricted in indexes(benchmark).items()
    }


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the outcomes of tasks with different queries as one, sorted by query, so that methods can be paired."""
    keys = {
        index: [key for outcome in outcomes for key in outcome.queries[index]]
        for index in outcomes[0].queries
    }
    order = {index: sorted(range(len(rows)), key=rows.__getitem__) for index, rows in keys.items()}
    columns = {
        column: np.concatenate([outcome.columns[column] for outcome in outcomes])[order[column[0]]]
        for column in outcomes[0].columns
    }
    queries = {index: tuple(rows[row] for row in order[index]) for index, rows in keys.items()}
    return Outcome(columns, queries)


def estimate_rows(
    rows: Mapping[str, Sequence[Outcome]], reference: str, params: EvaluationParams
) -> dict[str, Any]:
    """Return index -> level -> row -> metric -> estimate, with each seed's value and the difference to a row.

    rows: name -> outcomes of the same queries, one per seed. Values are averaged over seeds, over the queries of each
    LoRA, and over LoRAs; intervals resample LoRAs. Queries that a row leaves undefined are left out for that row.
    """
    tables: dict[str, Any] = {}
    for index, level, metric in rows[reference][0].columns:
        column = (index, level, metric)
        for name, outcomes in rows.items():
            cell = _estimate_cell(outcomes, rows[reference], column, params)
            if cell is not None:
                tables.setdefault(index, {}).setdefault(level, {}).setdefault(name, {})[metric] = cell
    return tables


def _estimate_cell(
    outcomes: Sequence[Outcome], references: Sequence[Outcome], column: Column, params: EvaluationParams
) -> dict[str, Any] | None:
    """Return the estimate of one column of a row; None if no query defines it."""
    seeds = np.stack([outcome.columns[column] for outcome in outcomes])
    reference = np.mean([outcome.columns[column] for outcome in references], axis=0)
    known = ~np.isnan(seeds).any(axis=0) & ~np.isnan(reference)
    if not known.any():
        return None
    queries = outcomes[0].queries[column[0]]
    names = [queries[row][0] for row in np.flatnonzero(known)]
    values = seeds.mean(axis=0)[known]
    pair = {"value": values, "difference": values - reference[known]}
    result = estimates(pair, names, params.bootstrap, params.seed)
    by_seed = [float(cluster_means(row[known], names).mean()) for row in seeds]
    return asdict(result["value"]) | {"seeds": by_seed, "difference": _interval(result["difference"])}


def _interval(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}


def to_markdown(table: Mapping[str, Any], reference: str) -> str:
    """Return the rows of one index as Markdown: R@1, R@3 and MRR of all themes, R@1 by level, and the difference."""
    header = (
        "row",
        *(f"{level} R@1" for level in table),
        "R@3",
        "MRR",
        *(f"{level} R@1 − {reference}" for level in table),
    )
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    first = next(iter(table))
    for name in dict.fromkeys(name for rows in table.values() for name in rows):
        cells = [table[level].get(name, {}) for level in table]
        values = [quote(cell.get("R@1")) for cell in cells]
        values += [quote(table[first].get(name, {}).get(metric)) for metric in ("R@3", "MRR")]
        values += [quote(cell.get("R@1", {}).get("difference"), sign="+") for cell in cells]
        lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


def quote(row: Mapping[str, float] | None, sign: str = "") -> str:
    """Return an estimate as text. sign: `+` writes the sign of positive values."""
    if row is None:
        return "–"
    return f"{row['value']:{sign}.2f} [{row['low']:{sign}.2f}, {row['high']:{sign}.2f}]"
