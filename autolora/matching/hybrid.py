"""The hybrid vector of an adapter, from its weights and from the captions of its renderings."""

import numpy as np

from autolora.storage.arrays import BoolArray, Float64Array, Int64Array

MIN_LENGTH = 1e-6
"""sums of caption vectors that are shorter than this have no direction"""


def combine(
    weights: Float64Array, captions: Float64Array, renderings: Int64Array, min_agreement: float
) -> tuple[Float64Array, BoolArray]:
    """Return the hybrid vectors (N, d) of adapters, and whether their captions count (N,).

    The vector is unit(n · c + w), with w the unit vector of the weights, c the unit mean of the captions' vectors and n
    the number of renderings with captions. Captions that contradict the weights (c · w below `min_agreement`), or that
    are missing, do not count: the vector is w.

    weights (N, d): unit rows. captions (N, d): sums of the unit vectors of each adapter's captions. renderings (N,).
    """
    centroids = directions(captions)
    agreement = agreements(weights, captions)
    counts: BoolArray = centroids.any(axis=1) & (renderings > 0) & (agreement >= min_agreement)
    sums = np.where(counts, renderings, 0.0)[:, None] * centroids + weights
    vectors: Float64Array = np.where(
        counts[:, None], sums / np.linalg.norm(sums, axis=1, keepdims=True), weights
    )
    return vectors, counts


def agreements(weights: Float64Array, captions: Float64Array) -> Float64Array:
    """Return the cosines (N,) of unit vectors of weights (N, d) with sums of caption vectors (N, d)."""
    cosines: Float64Array = (weights * directions(captions)).sum(axis=1)
    return cosines


def directions(sums: Float64Array) -> Float64Array:
    """Return the unit vectors (N, d) of sums of vectors (N, d); zero for a sum that has no direction."""
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    units: Float64Array = np.where(lengths > MIN_LENGTH, sums / np.maximum(lengths, MIN_LENGTH), 0)
    return units
