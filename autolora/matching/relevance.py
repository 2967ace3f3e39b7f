"""Relevance: the probability that a prompt asks for what an adapter does, from a cosine of their vectors."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from autolora.storage.arrays import BoolArray, Float64Array

NUM_COEFFICIENTS = 3
"""of a logistic function: slope of the cosine, factor of the remainder's length, intercept"""


@dataclass(frozen=True, slots=True, eq=False)
class Relevance:
    """Two logistic functions, fitted on adapters that the encoder has not seen (autolora.encoder.calibration)."""

    coefficients: Float64Array
    """(2, NUM_COEFFICIENTS), for vectors of weights alone and for those that contain captions"""

    def probabilities(
        self, cosines: Float64Array, uses_captions: BoolArray, remainder: float
    ) -> Float64Array:
        """Return the probability for each adapter (N,).

        cosines (N,): of the adapters' vectors with the prompt's, or with what selected adapters leave of it.
        uses_captions (N,): whether an adapter's vector contains captions. remainder: length of what selected adapters
        leave of the prompt's unit vector; 0 if none is selected yet.
        """
        slope, of_remainder, intercept = self.coefficients[uses_captions.astype(np.int64)].T
        probabilities: Float64Array = logistic(slope * cosines + of_remainder * remainder + intercept)
        return probabilities

    def to_json(self) -> list[list[float]]:
        """Return the JSON form."""
        rows: list[list[float]] = self.coefficients.tolist()
        return rows

    @classmethod
    def from_json(cls, rows: list[list[float]]) -> Self:
        """Return the relevance of a JSON form."""
        return cls(np.array(rows, dtype=np.float64))


def logistic(values: Float64Array) -> Float64Array:
    """Return 1 / (1 + exp(-x)) of each value, without overflow."""
    result: Float64Array = 0.5 * (1.0 + np.tanh(0.5 * values))
    return result
