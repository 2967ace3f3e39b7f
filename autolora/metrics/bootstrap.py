"""Means over clusters and their 95 % confidence intervals, by resampling whole clusters."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from autolora.storage.arrays import Float64Array

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean of cluster means, the bounds of its 95 % interval, and the number of values behind it."""

    value: float
    low: float
    high: float
    n: int
    """values"""
    clusters: int


def cluster_means(values: Float64Array, clusters: Sequence[Hashable]) -> Float64Array:
    """Return the mean of `values` (N,) within each cluster (C,), in order of first appearance."""
    groups: dict[Hashable, list[float]] = {}
    for cluster, value in zip(clusters, values.tolist(), strict=True):
        groups.setdefault(cluster, []).append(value)
    return np.array([np.mean(group) for group in groups.values()])


def estimate(values: Float64Array, clusters: Sequence[Hashable], resamples: int, seed: int) -> Estimate:
    """Return the mean of the cluster means of `values` (N,) with its percentile bootstrap interval.

    Whole clusters are drawn with replacement `resamples` times: values of one cluster are not independent.
    Raises ValueError when there are no values.
    """
    if not len(values):
        raise ValueError("there are no values to estimate from; at least one is needed")
    means = cluster_means(values, clusters)
    rng = np.random.default_rng(seed)
    resampled = means[rng.integers(0, len(means), size=(resamples, len(means)))].mean(axis=1)
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        value=float(means.mean()), low=float(low), high=float(high), n=len(values), clusters=len(means)
    )
