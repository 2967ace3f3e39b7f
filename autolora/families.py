"""Families: adapters that are alike, found by fingerprints of their sketches, and the sides they are on.

A fingerprint is a count sketch of the whole sketch, so comparing a newcomer with the pool reads 4 kB an
adapter and no sketch again. Its inner products estimate those of the sketches; near 1 the error of a cosine c
is about (1 - c) · √(2 / WIDTH), so copies are never missed.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autolora.files import hash_value

DEFINITION = "autolora-fingerprint-1"
WIDTH = 1024
BLOCK = 256
Floats = NDArray[np.float32]
Split = Literal["train", "test"]


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


def assign(fingerprints: Mapping[str, Floats], pinned: Mapping[str, str], cosine: float) -> dict[str, str]:
    """Return adapter -> family: that of the nearest earlier adapter at least `cosine` alike, else its own.

    fingerprints: in order of first seen, so that a newcomer never changes the family of an older adapter.
    pinned: families that are settled, by adapter; they come first.
    """
    order = [sha256 for sha256 in fingerprints if sha256 in pinned]
    order += [sha256 for sha256 in fingerprints if sha256 not in pinned]
    found = {sha256: pinned[sha256] for sha256 in order if sha256 in pinned}
    if not order:
        return found
    prints, start = np.stack([fingerprints[sha256] for sha256 in order]), len(found)
    for sha256, alike in zip(order[start:], earlier(prints, start), strict=True):
        found[sha256] = _family(sha256, alike, order, found, cosine)
    return found


def _family(sha256: str, alike: Floats, order: Sequence[str], found: Mapping[str, str], cosine: float) -> str:
    if not alike.size or alike.max() < cosine:
        return sha256
    return found[order[int(alike.argmax())]]


def split(family: str, salt: str, test_share: float) -> Split:
    """Return the side a family is on, by its hash: newcomers move nobody."""
    place = int(hash_value([salt, family])[:12], 16) / 16**12
    return "test" if place < test_share else "train"
