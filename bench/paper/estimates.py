"""Intervals of crossed designs, and win rates with ties.

Pairs of objects and styles share both, and random sets share adapters, so whole pairs are not independent. The
bootstrap for such designs (Owen 2007, the pigeonhole bootstrap) draws the members of each population with replacement,
and weights a case by the product of the numbers of times that its members were drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autolora.metrics.bootstrap import LEVEL
from autolora.storage.arrays import Float64Array

Groups = tuple[tuple[str, str], ...]
"""(population, member) of each member that a case has"""


@dataclass(frozen=True, slots=True)
class WinRate:
    """How two rows compare case by case: shares that sum to 1."""

    wins: float
    ties: float
    losses: float


def case_weights(groups: Sequence[Groups], resamples: int, seed: int) -> Float64Array:
    """Return the weight of each case in each resample (R, C)."""
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

    Resamples in which no case has a weight are left out. Values may be nan: their cases are left out.
    """
    defined = ~np.isnan(values)
    weights, values = weights[:, defined], values[defined]
    totals = weights.sum(axis=1)
    means = (weights @ values)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def estimate(values: Float64Array, weights: Float64Array) -> dict[str, float]:
    """Return value, low and high of the mean of the cases' values (C,)."""
    low, high = interval(values, weights)
    return {"value": float(np.nanmean(values)), "low": low, "high": high}


def win_rate(ours: Float64Array, theirs: Float64Array, tie: float) -> WinRate:
    """Return how often a value is above another one, below it, or at most `tie` away from it."""
    difference = (ours - theirs)[~np.isnan(ours - theirs)]
    wins, losses = float((difference > tie).mean()), float((difference < -tie).mean())
    return WinRate(wins, 1 - wins - losses, losses)
