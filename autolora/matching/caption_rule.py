"""Whether the captions of an adapter contradict its weights."""

from dataclasses import dataclass

import numpy as np

from autolora.storage.arrays import Float64Array

MIN_LENGTH = 1e-6
"""sums of vectors that are shorter than this have no direction"""


@dataclass(frozen=True, slots=True, eq=False)
class CaptionRule:
    """Decides whether captions contradict the weights.

    A regression predicts the captions' vector c of an adapter relative to their mean m over the training adapters. If
    the captions are right, the error of the prediction p does not correlate with p: p · (c - m) is ‖p‖² on average, so
    cos(p, c - m) is ‖p‖ / ‖c - m‖. An adapter that resembles no training adapter has a short prediction, which few
    captions contradict; captions that are predicted exactly have a cosine of 1, as expected.
    """

    mean: Float64Array
    """m (d,): mean of the training adapters' unit caption vectors"""
    margin: float
    """the lowest difference of cosine and expected cosine that right captions have, almost always; at most 0"""

    def agreements(self, weights: Float64Array, captions: Float64Array) -> Float64Array:
        """Return the cosines (N,) of predictions (N, d) with sums of captions' vectors (N, d), less the mean."""
        offsets = directions(captions) - self.mean
        cosines: Float64Array = (directions(weights) * directions(offsets)).sum(axis=1)
        return cosines

    def expected(self, weights: Float64Array, captions: Float64Array) -> Float64Array:
        """Return the lowest agreement (N,) of right captions. Arguments as of `agreements`."""
        offsets = np.linalg.norm(directions(captions) - self.mean, axis=1)
        lowest: Float64Array = self.margin + np.linalg.norm(weights, axis=1) / np.maximum(offsets, MIN_LENGTH)
        return lowest


def directions(sums: Float64Array) -> Float64Array:
    """Return the unit vectors (N, d) of sums of vectors (N, d); zero for a sum that has no direction."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    units: Float64Array = sums / np.maximum(lengths, MIN_LENGTH)
    units[~(lengths[:, 0] > MIN_LENGTH)] = 0.0
    return units
