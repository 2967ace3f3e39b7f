"""Retrieval metrics on a score matrix (Q, N): ranks, recall, reciprocal rank, exact chance, index health."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def ranks(scores: Floats, right: Bools) -> Ints:
    """Return the rank (1 is best) of each query's first right item: scores (Q, N), right (Q, N) -> (Q,).

    Ties count against the right item, so a model that scores everything alike gains nothing.
    Raises ValueError when a query has no right item.
    """
    if not right.any(axis=1).all():
        raise ValueError("a query without a right item has no rank")
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    rank: Ints = 1 + ((scores >= best) & ~right).sum(axis=1)
    return rank


def recall(rank: Ints, k: int) -> Floats:
    """Return 1.0 where the first right item is among the first k, else 0.0: (Q,) -> (Q,)."""
    return (rank <= k).astype(np.float64)


def reciprocal(rank: Ints) -> Floats:
    """Return 1 / rank, whose mean is the MRR: (Q,) -> (Q,)."""
    return 1.0 / rank.astype(np.float64)


def chance_of_rank(pool: int, right: int) -> Floats:
    """Return P(first right item at rank 1..pool) (pool,) in a random order with `right` right items.

    Exact (negative hypergeometric): C(pool - r, right - 1) / C(pool, right).
    """
    orders = comb(pool, right)
    return np.array([comb(pool - r, right - 1) / orders for r in range(1, pool + 1)])


def chance_recall(right: Bools, k: int) -> Floats:
    """Return each query's exact chance of a right item among k drawn at random: (Q, N) -> (Q,)."""
    return _by_count(right, lambda chances: chances[:k].sum())


def chance_reciprocal(right: Bools) -> Floats:
    """Return each query's exact expected reciprocal rank in a random order: (Q, N) -> (Q,)."""
    return _by_count(right, lambda chances: (chances / np.arange(1, len(chances) + 1)).sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How evenly an index answers."""

    k: int
    hubness: float
    """skewness of how often an item is among a query's first k; 0 where every item is as often"""
    never: float
    """share of items that no query finds among its first k"""
    busiest: int
    """index of the item found most often"""
    busiest_share: float
    """share of queries that find it among their first k"""
    gap: float
    """mean difference of the best and the second score"""


def health(scores: Floats, k: int) -> Health:
    """Return the k-occurrence statistics and the mean score gap of scores (Q, N)."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    counts = np.bincount(order.ravel(), minlength=scores.shape[1]).astype(np.float64)
    spread = counts.std()
    skew = float((((counts - counts.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0
    best = np.sort(scores, axis=1)[:, ::-1]
    return Health(
        k=k,
        hubness=skew,
        never=float((counts == 0).mean()),
        busiest=int(counts.argmax()),
        busiest_share=float(counts.max() / len(scores)),
        gap=float((best[:, 0] - best[:, 1]).mean()) if scores.shape[1] > 1 else 0.0,
    )


def _by_count(right: Bools, measure: Callable[[Floats], float]) -> Floats:
    """Measure the chances of each distinct number of right items once."""
    pool = right.shape[1]
    counts = right.sum(axis=1)
    table = {int(count): float(measure(chance_of_rank(pool, int(count)))) for count in np.unique(counts)}
    return np.array([table[int(count)] for count in counts])
