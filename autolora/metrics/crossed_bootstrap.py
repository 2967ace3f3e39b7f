"""Means over cases that share members, and their 95 % intervals: the two-way bootstrap.

Pairs of objects and styles share both, and random sets share adapters, so whole cases are not independent. The
bootstrap for such crossed designs (Owen 2007, the pigeonhole bootstrap) draws the members of each population with
replacement, and weights a case by the product of the numbers of times that its members were drawn.
"""

from collections.abc import Sequence

import numpy as np

from autolora.metrics.bootstrap import LEVEL
from autolora.storage.arrays import Float64Array

RESAMPLES = 2000

Groups = tuple[tuple[str, str], ...]
"""(population, member) of each member that a case has, such as ("object", "cat")"""


def case_weights(groups: Sequence[Groups], resamples: int = RESAMPLES, seed: int = 0) -> Float64Array:
    """Return the weight of each case in each resample (R, C). groups: members of each case (C,)."""
    rng = np.random.default_rng(seed)
    members: dict[str, dict[str, int]] = {}
    for case in groups:
        for population, member in case:
            known = members.setdefault(population, {})
            known.setdefault(member, len(known))
    draws = {
        population: rng.multinomial(len(known), np.full(len(known), 1 / len(known)), size=resamples)
        for population, known in sorted(members.items())
    }
    weights = np.ones((resamples, len(groups)))
    for column, case in enumerate(groups):
        for population, member in case:
            weights[:, column] *= draws[population][:, members[population][member]]
    return weights


def interval(values: Float64Array, weights: Float64Array) -> tuple[float, float]:
    """Return the bounds of the 95 % interval of the mean of values (C,), given the weights (R, C) of resamples.

    Values may be nan: their cases are left out, and so are resamples in which no case has a weight.
    Raises ValueError if no value is defined.
    """
    defined = ~np.isnan(values)
    if not defined.any():
        raise ValueError("there are no values to estimate from; at least one is needed")
    weights, values = weights[:, defined], values[defined]
    totals = weights.sum(axis=1)
    means = (weights @ values)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def estimate(values: Float64Array, weights: Float64Array) -> dict[str, float]:
    """Return value, low and high of the mean of the cases' values (C,). weights: (R, C). Raises as `interval`."""
    low, high = interval(values, weights)
    return {"value": float(np.nanmean(values)), "low": low, "high": high}
