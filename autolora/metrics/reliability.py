"""The reliability of probabilities: how often what they are stated for is right."""

from collections.abc import Iterator

import numpy as np

from autolora.storage.arrays import BoolArray, Float64Array

BINS = 10


def bins(probabilities: Float64Array, right: BoolArray) -> Iterator[tuple[float, float, int]]:
    """Yield (mean probability, share that is right, number) of each tenth of the range that has some."""
    rows = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    for number in range(BINS):
        chosen = rows == number
        if chosen.any():
            yield float(probabilities[chosen].mean()), float(right[chosen].mean()), int(chosen.sum())


def calibration_error(probabilities: Float64Array, right: BoolArray) -> float:
    """Return the expected calibration error: the mean of |probability - share that is right| over the bins."""
    total = sum(count * abs(mean - share) for mean, share, count in bins(probabilities, right))
    return total / max(len(probabilities), 1)
