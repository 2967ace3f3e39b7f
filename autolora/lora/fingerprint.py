"""Fingerprints: count sketches of whole sketches, to compare an adapter with many others.

Comparing one reads 4 kB per adapter. Inner products estimate those of the sketches; near 1 the error of a cosine c
is about (1 - c) · √(2 / WIDTH), so copies are never missed."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DEFINITION = "autolora-fingerprint-1"
WIDTH = 1024
BLOCK = 256
Floats = NDArray[np.float32]


def fingerprint(sketch: NDArray[np.floating]) -> Floats:
    """Return the unit fingerprint (WIDTH,) of a sketch (S, m, p); a zero sketch gives zeros."""
    flat = sketch.astype(np.float64).ravel()
    buckets, signs = _buckets(flat.size)
    folded = np.bincount(buckets, weights=flat * signs, minlength=WIDTH)
    norm = float(np.sqrt(np.square(folded).sum()))
    return (folded / norm if norm else folded).astype(np.float32)


@lru_cache(maxsize=2)
def _buckets(size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return bucket and sign of each coordinate, from splitmix64, whose definition never changes."""
    with np.errstate(over="ignore"):
        z = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    buckets = (z % np.uint64(WIDTH)).astype(np.int64)
    signs = np.where(z >> np.uint64(63), -1.0, 1.0)
    return buckets, signs


def earlier(prints: Floats, start: int) -> Iterator[Floats]:
    """Yield, for each fingerprint (N, WIDTH) from `start` on, its cosines with all before it (place,).

    In blocks: beside the fingerprints, BLOCK · N numbers are in memory.
    """
    for begin in range(start, len(prints), BLOCK):
        block = prints[begin : begin + BLOCK]
        alike = block @ prints[: begin + len(block)].T
        yield from (alike[row, : begin + row] for row in range(len(block)))
