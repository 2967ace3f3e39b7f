"""Retrieval metrics of scores: ranks, recall, reciprocal rank, and exact chance.

Scores come in blocks of queries (B, N), so that memory depends on the pool and not on the number of queries.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from autolora.storage.arrays import Float64Array, Int64Array

BLOCK_BYTES = 1 << 26
"""size of a block of scores"""

Relevant = Sequence[Int64Array]
"""per query, the positions of its relevant items, each once"""


def blocks(queries: int, pool: int) -> Iterator[slice]:
    """Yield consecutive slices of the queries; the float64 scores (B, pool) of each fit into BLOCK_BYTES."""
    rows = max(1, BLOCK_BYTES // (8 * max(pool, 1)))
    for start in range(0, queries, rows):
        yield slice(start, min(start + rows, queries))


def ranks(scores: Float64Array, relevant: Relevant) -> Int64Array:
    """Return the rank (1 is best) of each query's first relevant item: scores (B, N), relevant (B,) -> (B,).

    Ties count against the relevant item, so a model that gives every item the same score gains nothing.
    Raises ValueError when a query has no relevant item.
    """
    counts = np.array([len(positions) for positions in relevant], dtype=np.int64)
    without = np.flatnonzero(counts == 0)
    if len(without):
        raise ValueError(
            f"{len(without)} of {len(relevant)} queries (the first is query {without[0]}) have no relevant item; "
            "every query needs at least one"
        )
    if not len(relevant):
        return np.empty(0, dtype=np.int64)
    rows, starts = np.repeat(np.arange(len(counts)), counts), np.cumsum(counts) - counts
    relevant_scores = scores[rows, np.concatenate(list(relevant))]
    best = np.maximum.reduceat(relevant_scores, starts)
    equal_relevant = np.add.reduceat((relevant_scores == best[rows]).astype(np.int64), starts)
    at_least = np.count_nonzero(scores >= best[:, None], axis=1).astype(np.int64)
    rank: Int64Array = 1 + at_least - equal_relevant
    return rank


def recall(rank: Float64Array, k: int) -> Float64Array:
    """Return R@k: 1.0 if the first relevant item is among the first k, else 0.0, nan if undefined: (Q,) -> (Q,)."""
    found: Float64Array = (rank <= k).astype(np.float64)
    found[np.isnan(rank)] = np.nan
    return found


def reciprocal(rank: Float64Array) -> Float64Array:
    """Return 1 / rank, whose mean is the MRR: (Q,) -> (Q,)."""
    inverse: Float64Array = 1.0 / rank
    return inverse


def chance_of_rank(pool: int, relevant: int) -> Float64Array:
    """Return P(first relevant item at rank 1..pool) (pool,) in a random order with `relevant` relevant items.

    Exact: the number of irrelevant items before it has a negative hypergeometric distribution.
    """
    from scipy import stats  # here, because it takes longer to import than a search

    before = np.arange(pool)
    chances: Float64Array = stats.nhypergeom(pool, pool - relevant, 1).pmf(before)
    return chances


def chance_recall(counts: Int64Array, pools: Int64Array, k: int) -> Float64Array:
    """Return the exact probability of a relevant item among k items that are drawn at random from each query's pool.

    counts, pools: numbers of relevant items and of all items of each query (Q,).
    """
    return _by_count(counts, pools, lambda chances: float(chances[:k].sum()))


def chance_reciprocal(counts: Int64Array, pools: Int64Array) -> Float64Array:
    """Return the exact expected reciprocal rank in a random order. counts, pools: as in `chance_recall`."""
    return _by_count(counts, pools, lambda chances: float((chances / np.arange(1, len(chances) + 1)).sum()))


def _by_count(
    counts: Int64Array, pools: Int64Array, measure: Callable[[Float64Array], float]
) -> Float64Array:
    """Return `measure` of each query's chances (Q,), computed once per distinct pair of counts."""
    pairs = list(zip(pools.tolist(), counts.tolist(), strict=True))
    table = {pair: measure(chance_of_rank(*pair)) for pair in set(pairs)}
    return np.array([table[pair] for pair in pairs])
