"""Means over clusters and their 95 % confidence intervals, by resampling whole clusters."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from autolora.storage.arrays import Float64Array

Name = TypeVar("Name", bound=Hashable)
LEVEL = 0.95
BLOCK_DRAWS = 1 << 22
"""cluster means that are drawn at a time, of all columns together"""


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
    intervals = _intervals(np.stack(list(means.values())), resamples, seed)
    return {
        name: Estimate(value=float(column.mean()), low=low, high=high, n=len(clusters), clusters=len(column))
        for (name, column), (low, high) in zip(means.items(), intervals, strict=True)
    }


def _intervals(means: Float64Array, resamples: int, seed: int) -> list[tuple[float, float]]:
    """Return the intervals of the means of columns of cluster means (columns, C); a single cluster does not vary."""
    from scipy import stats  # here, because it takes longer to import than a search

    if means.shape[1] == 1:
        return [(value, value) for value in means[:, 0].tolist()]
    result = stats.bootstrap(
        (means,),
        np.mean,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, BLOCK_DRAWS // means.size),
        method="percentile",
        confidence_level=LEVEL,
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return list(zip(low.tolist(), high.tolist(), strict=True))
