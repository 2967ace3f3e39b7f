"""Rows of the playground's report: a share with its 95 % interval, its floor and its goal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from autolora.metrics.bootstrap import LEVEL, estimate
from autolora.storage.arrays import Float64Array

RESAMPLES = 2000
TARGETS: dict[str, tuple[float, float]] = {
    "oracle: object": (0.98, 0.995),
    "oracle: style": (0.98, 0.995),
    "oracle: colour": (0.98, 0.995),
    "oracle: background": (0.98, 0.995),
    "base: object": (0.80, 0.95),
    "base: colour": (0.90, 0.98),
    "base: background": (0.90, 0.98),
    "style LoRAs: macro": (0.75, 0.92),
    "style LoRAs: worst": (0.50, 0.75),
    "object LoRAs: macro": (0.70, 0.90),
    "object LoRAs: worst": (0.50, 0.75),
    "CLIP: caption of 100": (0.85, 0.97),
    "judge CLIP: caption of 100": (0.85, 0.97),
    "VLM captions: object": (0.75, 0.92),
    "VLM captions: colour": (0.75, 0.92),
    "VLM captions: style": (0.75, 0.92),
    "VLM: yes or no": (0.85, 0.95),
    "judge VLM: yes or no": (0.85, 0.95),
}
"""name of a row -> floor and goal"""

Groups = Mapping[str, Sequence[Float64Array]]
"""group -> values of each of its clusters"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One share of the report."""

    name: str
    value: float
    interval: tuple[float, float]
    n: int
    chance: float
    seed: int
    worst_group: str | None = None
    """of a row about the worst group: the group's name"""

    @property
    def floor(self) -> float | None:
        return TARGETS[self.name][0] if self.name in TARGETS else None

    @property
    def goal(self) -> float | None:
        return TARGETS[self.name][1] if self.name in TARGETS else None

    @property
    def fails(self) -> bool:
        """Whether the value is below its floor."""
        return self.floor is not None and self.value < self.floor


def binomial_row(name: str, hits: Float64Array, chance: float, seed: int) -> Row:
    """Return the row of independent hits (N,), each 1 or 0, with their exact (Clopper-Pearson) interval."""
    num_hits, n = int(hits.sum()), len(hits)
    interval = exact_interval(num_hits, n)
    return Row(name=name, value=num_hits / n, interval=interval, n=n, chance=chance, seed=seed)


def clustered_row(name: str, hits: Float64Array, clusters: Sequence[str], chance: float, seed: int) -> Row:
    """Return the row of the mean over clusters of hits (N,), with the bootstrap interval of whole clusters.

    If the hits are all 1 or all 0, resampling does not vary, and the interval is the exact one.
    """
    result = estimate(hits, clusters, RESAMPLES, seed)
    interval = (
        (result.low, result.high) if 0 < result.value < 1 else exact_interval(int(hits.sum()), result.n)
    )
    return Row(name=name, value=result.value, interval=interval, n=result.n, chance=chance, seed=seed)


def macro_row(name: str, groups: Groups, chance: float, seed: int) -> Row:
    """Return the row of the mean over groups of the mean over clusters, with a two-stage bootstrap interval.

    If the hits are all 1 or all 0, resampling does not vary, and the interval is the exact one.
    """
    value = float(np.mean([np.mean([values.mean() for values in parts]) for parts in groups.values()]))
    rng = np.random.default_rng(seed)
    draws = np.mean([resample(parts, rng) for parts in groups.values()], axis=0)
    n = sum(len(values) for parts in groups.values() for values in parts)
    interval = percentile_interval(draws) if 0 < value < 1 else exact_interval(round(value) * n, n)
    return Row(name=name, value=value, interval=interval, n=n, chance=chance, seed=seed)


def worst_row(name: str, groups: Groups, chance: float, seed: int) -> Row:
    """Return the row of the group with the lowest mean, with the interval of this group."""
    worst = min(groups, key=lambda group: float(np.mean([values.mean() for values in groups[group]])))
    return replace(macro_row(name, {worst: groups[worst]}, chance, seed), worst_group=worst)


def resample(parts: Sequence[Float64Array], rng: np.random.Generator) -> Float64Array:
    """Return RESAMPLES means (R,) of clusters drawn with replacement, and of hits drawn within each cluster."""
    shares, sizes = np.array([values.mean() for values in parts]), np.array([len(values) for values in parts])
    picked = rng.integers(0, len(parts), size=(RESAMPLES, len(parts)))
    return np.asarray((rng.binomial(sizes[picked], shares[picked]) / sizes[picked]).mean(axis=1))


def percentile_interval(draws: Float64Array) -> tuple[float, float]:
    """Return the bounds between which a share LEVEL of the draws lies."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def exact_interval(num_hits: int, n: int) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of `num_hits` hits in `n` trials."""
    interval = stats.binomtest(num_hits, n).proportion_ci(LEVEL)
    return float(interval.low), float(interval.high)
