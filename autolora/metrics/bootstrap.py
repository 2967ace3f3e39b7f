"""Means over clusters and their 95 % intervals, by resampling whole clusters."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A macro mean, the bounds of its 95 % interval, and what it rests on."""

    value: float
    low: float
    high: float
    n: int
    """values"""
    clusters: int

    @property
    def separates_from_zero(self) -> bool:
        """Whether the interval lies wholly on one side of zero."""
        return self.low > 0 or self.high < 0


def cluster_means(values: Values, clusters: Sequence[Hashable]) -> Values:
    """Return the mean of `values` (N,) within each cluster (C,), in order of first appearance."""
    groups: dict[Hashable, list[float]] = {}
    for cluster, value in zip(clusters, values.tolist(), strict=True):
        groups.setdefault(cluster, []).append(value)
    return np.array([np.mean(group) for group in groups.values()])


def estimate(values: Values, clusters: Sequence[Hashable], resamples: int, seed: int) -> Estimate:
    """Return the mean of the cluster means of `values` (N,) with its percentile bootstrap interval.

    Whole clusters are drawn with replacement `resamples` times: their values do not count as independent.
    Raises ValueError when there are no values.
    """
    if not len(values):
        raise ValueError("no values to estimate from")
    means = cluster_means(values, clusters)
    rng = np.random.default_rng(seed)
    draws = means[rng.integers(0, len(means), size=(resamples, len(means)))].mean(axis=1)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        value=float(means.mean()), low=float(low), high=float(high), n=len(values), clusters=len(means)
    )
