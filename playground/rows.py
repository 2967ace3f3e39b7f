"""Rows of the playground's report: a share, its 95 % interval, and what it has to reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolora.metrics.bootstrap import LEVEL, estimate

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
"""row -> floor and goal"""

Floats = NDArray[np.float64]
Groups = Mapping[str, Sequence[Floats]]
"""group -> the values of each of its clusters"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One share of the report."""

    what: str
    value: float
    interval: tuple[float, float]
    n: int
    chance: float
    seed: int
    which: str | None = None
    """of a worst: the worst one"""

    @property
    def floor(self) -> float | None:
        return TARGETS[self.what][0] if self.what in TARGETS else None

    @property
    def goal(self) -> float | None:
        return TARGETS[self.what][1] if self.what in TARGETS else None

    @property
    def fails(self) -> bool:
        """Whether it is below its floor."""
        return self.floor is not None and self.value < self.floor


def count(what: str, hits: Floats, chance: float, seed: int) -> Row:
    """Make a row of independent hits (N,), 1 or 0, with the exact (Clopper-Pearson) interval."""
    right, n = int(hits.sum()), len(hits)
    return Row(what=what, value=right / n, interval=exact(right, n), n=n, chance=chance, seed=seed)


def cluster(what: str, hits: Floats, clusters: Sequence[str], chance: float, seed: int) -> Row:
    """Make a row of the mean over clusters of hits (N,), with a bootstrap of whole clusters.

    Where all or none hit there is nothing to resample: the interval is the exact one.
    """
    found = estimate(hits, clusters, RESAMPLES, seed)
    interval = (found.low, found.high) if 0 < found.value < 1 else exact(int(hits.sum()), found.n)
    return Row(what=what, value=found.value, interval=interval, n=found.n, chance=chance, seed=seed)


def macro(what: str, groups: Groups, chance: float, seed: int) -> Row:
    """Make a row of the mean over groups of the mean over clusters, resampled in both stages.

    Where all or none hit there is nothing to resample: the interval is the exact one.
    """
    value = float(np.mean([np.mean([one.mean() for one in parts]) for parts in groups.values()]))
    rng = np.random.default_rng(seed)
    draws = np.mean([resample(parts, rng) for parts in groups.values()], axis=0)
    n = sum(len(one) for parts in groups.values() for one in parts)
    interval = bounds(draws) if 0 < value < 1 else exact(round(value) * n, n)
    return Row(what=what, value=value, interval=interval, n=n, chance=chance, seed=seed)


def worst(what: str, groups: Groups, chance: float, seed: int) -> Row:
    """Make a row of the group with the lowest mean; its interval is that group's own."""
    name = min(groups, key=lambda name: float(np.mean([one.mean() for one in groups[name]])))
    alone = macro(what, {name: groups[name]}, chance, seed)
    return Row(**{**vars(alone), "which": name})


def resample(parts: Sequence[Floats], rng: np.random.Generator) -> Floats:
    """Draw clusters of hits with replacement, then hits within each: RESAMPLES means (R,)."""
    shares, sizes = np.array([one.mean() for one in parts]), np.array([len(one) for one in parts])
    picked = rng.integers(0, len(parts), size=(RESAMPLES, len(parts)))
    return np.asarray((rng.binomial(sizes[picked], shares[picked]) / sizes[picked]).mean(axis=1))


def bounds(draws: Floats) -> tuple[float, float]:
    """Return the percentiles between which LEVEL of the draws lie."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def exact(right: int, n: int) -> tuple[float, float]:
    """Return the Clopper-Pearson interval of `right` hits in `n`."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if right == 0 else _solve(lambda p: 1 - _at_most(right - 1, n, p) < tail)
    high = 1.0 if right == n else _solve(lambda p: _at_most(right, n, p) > tail)
    return low, high


def _solve(holds: Callable[[float], bool]) -> float:
    """Return where in 0..1 a predicate that holds first stops holding."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return (low + high) / 2


def _at_most(right: int, n: int, p: float) -> float:
    """Return the chance of at most `right` hits in `n` of probability `p`, 0 < p < 1."""
    hit, miss, all_orders = math.log(p), math.log1p(-p), math.lgamma(n + 1)
    return sum(
        math.exp(all_orders - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * hit + (n - k) * miss)
        for k in range(right + 1)
    )
