"""Fingerprints: count sketches of whole sketches, for comparing one adapter with many others.

A fingerprint takes 4 kB per adapter. The inner product of two fingerprints estimates that of their sketches; near 1
the error of a cosine c is about (1 - c) · √(2 / WIDTH), so copies are not missed.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autolora.storage.arrays import Float32Array

DEFINITION = "autolora-fingerprint-1"
WIDTH = 1024
BLOCK_ROWS = 256


def fingerprint(sketch: NDArray[np.floating]) -> Float32Array:
    """Return the fingerprint (WIDTH,) of a sketch (S, m, p), with norm 1; zeros if the sketch is zero."""
    flat = sketch.astype(np.float64).ravel()
    buckets, signs = _buckets(flat.size)
    folded = np.bincount(buckets, weights=flat * signs, minlength=WIDTH)
    norm = float(np.sqrt(np.square(folded).sum()))
    return (folded / norm if norm else folded).astype(np.float32)


@lru_cache(maxsize=2)
def _buckets(size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return bucket and sign of each coordinate, from SplitMix64, whose definition does not depend on a library."""
    words = split_mix(0, size)
    buckets = (words % np.uint64(WIDTH)).astype(np.int64)
    signs = np.where(words >> np.uint64(63), -1.0, 1.0)
    return buckets, signs


def split_mix(seed: int, count: int) -> NDArray[np.uint64]:
    """Return the first `count` outputs of SplitMix64 (Steele, Lea, Flood 2014), computed in parallel."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def cosines_with_earlier(fingerprints: Float32Array, start: int) -> Iterator[Float32Array]:
    """Yield, for each row i >= start of fingerprints (N, WIDTH), its cosines (i,) with the rows before it.

    Rows are processed in blocks, so at most BLOCK_ROWS · N cosines are in memory.
    """
    for begin in range(start, len(fingerprints), BLOCK_ROWS):
        block = fingerprints[begin : begin + BLOCK_ROWS]
        cosines = block @ fingerprints[: begin + len(block)].T
        yield from (cosines[row, : begin + row] for row in range(len(block)))
