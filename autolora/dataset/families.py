"""Families: adapters that are alike, found by fingerprints of their sketches, and the sides they are on.

A fingerprint is a count sketch of the whole sketch, so comparing a newcomer with the pool reads 4 kB an
adapter and no sketch again. Its inner products estimate those of the sketches; near 1 the error of a cosine c
is about (1 - c) · √(2 / WIDTH), so copies are never missed.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from autolora.lora.fingerprint import Floats, earlier
from autolora.storage.files import hash_value

Split = Literal["train", "test"]


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
