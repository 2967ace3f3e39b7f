"""The hybrid vector of an adapter, from its weights and from the captions of its renderings."""

import numpy as np

from autolora.storage.arrays import BoolArray, Float64Array, Int64Array

MIN_LENGTH = 1e-6
"""sums of vectors that are shorter than this have no direction"""


def combine(
    weights: Float64Array, captions: Float64Array, renderings: Int64Array, min_agreement: float
) -> tuple[Float64Array, BoolArray]:
    """Return the hybrid vectors (N, d) of adapters, and whether their captions count (N,).

    The vector is unit(n · c + w), with w the unit vector of the weights, c the unit mean of the captions' vectors and n
    the number of renderings with captions. Captions that contradict the weights (their cosine is below
    `expected_cosines`), or that are missing, do not count: the vector is w.

    weights (N, d): what the regression predicts. captions (N, d): sums of the unit vectors of each adapter's captions.
    renderings (N,).
    """
    centroids, units = directions(captions), directions(weights)
    agrees = agreements(weights, captions) >= expected_cosines(weights, min_agreement)
    counts: BoolArray = centroids.any(axis=1) & (renderings > 0) & agrees
    sums = np.where(counts, renderings, 0.0)[:, None] * centroids + units
    vectors: Float64Array = np.where(counts[:, None], directions(sums), units)
    return vectors, counts


def agreements(weights: Float64Array, captions: Float64Array) -> Float64Array:
    """Return the cosines (N,) of vectors of weights (N, d) with sums of caption vectors (N, d)."""
    cosines: Float64Array = (directions(weights) * directions(captions)).sum(axis=1)
    return cosines


def expected_cosines(weights: Float64Array, min_agreement: float) -> Float64Array:
    """Return the cosines (N,) that right captions of adapters have at least, almost always.

    A regression predicts a short vector for an adapter that resembles none of its training adapters. It knows little
    then, and right captions agree with it little; if the vector is long, they agree with it well.
    weights (N, d): what the regression predicts. min_agreement: the cosine that is expected of a vector of length 0;
    at most 0, so that captions that are predicted exactly, by a vector of length 1, agree.
    """
    expected: Float64Array = min_agreement + np.linalg.norm(weights, axis=1)
    return expected


def directions(sums: Float64Array) -> Float64Array:
    """Return the unit vectors (N, d) of sums of vectors (N, d); zero for a sum that has no direction."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    units: Float64Array = np.where(lengths > MIN_LENGTH, sums / np.maximum(lengths, MIN_LENGTH), 0.0)
    return units
