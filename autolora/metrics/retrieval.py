"""Retrieval metrics of a score matrix (Q, N): ranks, recall, reciprocal rank, exact chance, index health."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np

from autolora.storage.arrays import BoolArray, Float64Array, Int64Array


def ranks(scores: Float64Array, relevant: BoolArray) -> Int64Array:
    """Return the rank (1 is best) of each query's first relevant item: scores (Q, N), relevant (Q, N) -> (Q,).

    Ties count against the relevant item, so a model that gives every item the same score gains nothing.
    Raises ValueError when a query has no relevant item.
    """
    without = np.flatnonzero(~relevant.any(axis=1))
    if len(without):
        raise ValueError(
            f"{len(without)} of {len(relevant)} queries (the first is query {without[0]}) have no relevant item; "
            "every query needs at least one"
        )
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    rank: Int64Array = 1 + ((scores >= best) & ~relevant).sum(axis=1)
    return rank


def recall(rank: Int64Array, k: int) -> Float64Array:
    """Return R@k: 1.0 if the first relevant item is among the first k, else 0.0: (Q,) -> (Q,)."""
    return (rank <= k).astype(np.float64)


def reciprocal(rank: Int64Array) -> Float64Array:
    """Return 1 / rank, whose mean is the MRR: (Q,) -> (Q,)."""
    return 1.0 / rank.astype(np.float64)


def chance_of_rank(pool: int, relevant: int) -> Float64Array:
    """Return P(first relevant item at rank 1..pool) (pool,) in a random order with `relevant` relevant items.

    Exact (negative hypergeometric): C(pool - r, relevant - 1) / C(pool, relevant).
    """
    orders = comb(pool, relevant)
    return np.array([comb(pool - rank, relevant - 1) / orders for rank in range(1, pool + 1)])


def chance_recall(relevant: BoolArray, k: int) -> Float64Array:
    """Return each query's exact probability of a relevant item among k drawn at random: (Q, N) -> (Q,)."""
    return _by_count(relevant, lambda chances: chances[:k].sum())


def chance_reciprocal(relevant: BoolArray) -> Float64Array:
    """Return each query's exact expected reciprocal rank in a random order: (Q, N) -> (Q,)."""
    return _by_count(relevant, lambda chances: (chances / np.arange(1, len(chances) + 1)).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How evenly an index answers a set of queries."""

    k: int
    hubness: float
    """skewness of the number of queries whose first k hold an item; 0 if all items have the same number"""
    never_retrieved: float
    """share of items that are among the first k of no query"""
    most_retrieved: int
    """index of the item that is among the first k most often"""
    most_retrieved_share: float
    """share of queries whose first k hold that item"""
    score_gap: float
    """mean difference of the best and the second best score"""


def health(scores: Float64Array, k: int) -> Health:
    """Return the k-occurrence statistics and the mean score gap of scores (Q, N)."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    counts = np.bincount(order.ravel(), minlength=scores.shape[1]).astype(np.float64)
    deviation = counts.std()
    skewness = float((((counts - counts.mean()) / deviation) ** 3).mean()) if deviation > 0 else 0.0
    best = np.sort(scores, axis=1)[:, ::-1]
    return Health(
        k=k,
        hubness=skewness,
        never_retrieved=float((counts == 0).mean()),
        most_retrieved=int(counts.argmax()),
        most_retrieved_share=float(counts.max() / len(scores)),
        score_gap=float((best[:, 0] - best[:, 1]).mean()) if scores.shape[1] > 1 else 0.0,
    )


def _by_count(relevant: BoolArray, measure: Callable[[Float64Array], float]) -> Float64Array:
    """Return `measure` of each query's chances (Q,), computed once per distinct number of relevant items."""
    pool = relevant.shape[1]
    counts = relevant.sum(axis=1)
    table = {int(count): float(measure(chance_of_rank(pool, int(count)))) for count in np.unique(counts)}
    return np.array([table[int(count)] for count in counts])
