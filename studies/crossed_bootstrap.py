"""Means over cases that share members, and their 95 % intervals: the two-way bootstrap.

Pairs of objects and styles share both, and random sets share topics, so whole cases are not independent. The
bootstrap for such crossed designs (Owen 2007, the pigeonhole bootstrap) draws the members of each population with
replacement, and weights a case by the product of the numbers of times that its members were drawn.
"""

from collections.abc import Sequence

import numpy as np

from autolora.metrics.bootstrap import LEVEL
from autolora.storage.arrays import Float64Array

RESAMPLES = 2000
NO_VALUES = "there are no values to estimate from; at least one is needed"
MIN_CASES = 5
"""with fewer there is no interval: that of a bootstrap lies within the range of the values, and the whole range of n
values contains the median of their population with probability 1 - 2^(1 - n) only, 0.88 for 4 and 0.94 for 5"""
MIN_MEMBERS = 2
"""of each population; with one there is no interval, because every resample draws it"""

Groups = tuple[tuple[str, str], ...]
"""(population, member) of each member that a case has, such as ("object", "cat")"""


def case_weights(groups: Sequence[Groups], resamples: int = RESAMPLES, seed: int = 0) -> Float64Array:
    """Return the weight of each case in each resample (R, C). groups: members of each case (C,)."""
    rng, members = np.random.default_rng(seed), members_of(groups)
    draws = {
        population: rng.multinomial(len(known), np.full(len(known), 1 / len(known)), size=resamples)
        for population, known in sorted(members.items())
    }
    weights = np.ones((resamples, len(groups)))
    for column, case in enumerate(groups):
        for population, member in case:
            weights[:, column] *= draws[population][:, members[population][member]]
    return weights


def members_of(groups: Sequence[Groups]) -> dict[str, dict[str, int]]:
    """Return population -> member -> its number, in order of first appearance."""
    members: dict[str, dict[str, int]] = {}
    for case in groups:
        for population, member in case:
            known = members.setdefault(population, {})
            known.setdefault(member, len(known))
    return members


def suffice(groups: Sequence[Groups]) -> bool:
    """Return whether cases are enough for an interval: MIN_CASES of them, of MIN_MEMBERS of each population."""
    members = members_of(groups).values()
    return len(groups) >= MIN_CASES and all(len(known) >= MIN_MEMBERS for known in members)


def interval(values: Float64Array, weights: Float64Array) -> tuple[float, float]:
    """Return the bounds of the 95 % interval of the mean of values (C,), given the weights (R, C) of resamples.

    Values may be nan: their cases are left out, and so are resamples in which no case has a weight.
    Raises ValueError if no value is defined.
    """
    defined = ~np.isnan(values)
    if not defined.any():
        raise ValueError(NO_VALUES)
    weights, values = weights[:, defined], values[defined]
    totals = weights.sum(axis=1)
    means = (weights @ values)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def estimate(values: Float64Array, groups: Sequence[Groups]) -> dict[str, float | None]:
    """Return value, low and high of the mean of the cases' values (C,), which may be nan. groups: members of each case.

    low and high are None if the cases with a value do not `suffice`. Raises ValueError if no value is defined.
    """
    defined = [case for case, value in zip(groups, values.tolist(), strict=True) if not np.isnan(value)]
    if not defined:
        raise ValueError(NO_VALUES)
    low, high = interval(values, case_weights(groups)) if suffice(defined) else (None, None)
    return {"value": float(np.nanmean(values)), "low": low, "high": high}
