"""Means over clusters and their 95 % confidence intervals, by resampling whole clusters."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from autolora.storage.arrays import Float64Array

Name = TypeVar("Name", bound=Hashable)
LEVEL = 0.95
BLOCK_DRAWS = 1 << 22
"""clusters that are drawn at a time"""


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
    """Return the estimate of one column of `estimates`. Raises as `estimates`."""
    return estimates({"values": values}, clusters, resamples, seed)["values"]


def estimates(
    columns: Mapping[Name, Float64Array], clusters: Sequence[Hashable], resamples: int, seed: int
) -> dict[Name, Estimate]:
    """Return name -> mean of the cluster means of a column (N,), with its percentile bootstrap interval.

    Whole clusters are drawn with replacement `resamples` times: values of one cluster are not independent. All
    columns use the same draws. Raises ValueError when there are no values.
    """
    if not clusters:
        raise ValueError("there are no values to estimate from; at least one is needed")
    means = {name: cluster_means(values, clusters) for name, values in columns.items()}
    resampled = _resample(means, len(set(clusters)), resamples, np.random.default_rng(seed))
    bounds = {
        name: np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) for name, draws in resampled.items()
    }
    return {
        name: Estimate(
            value=float(column.mean()),
            low=float(bounds[name][0]),
            high=float(bounds[name][1]),
            n=len(clusters),
            clusters=len(column),
        )
        for name, column in means.items()
    }


def _resample(
    means: Mapping[Name, Float64Array], clusters: int, resamples: int, rng: np.random.Generator
) -> dict[Name, Float64Array]:
    """Return name -> means (resamples,) of cluster means (C,) that are drawn with replacement, block by block."""
    resampled = {name: np.empty(resamples) for name in means}
    rows = max(1, BLOCK_DRAWS // clusters)
    for start in range(0, resamples, rows):
        draws = rng.integers(0, clusters, size=(min(rows, resamples - start), clusters))
        for name, column in means.items():
            resampled[name][start : start + rows] = column[draws].mean(axis=1)
    return resampled
