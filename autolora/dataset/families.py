"""Families of similar adapters, found by fingerprints of their sketches, and the split of each family."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from autolora.lora.fingerprint import cosines_with_earlier
from autolora.storage.arrays import Float32Array
from autolora.storage.hashes import hash_value

Split = Literal["train", "validation", "test"]


def assign_families(
    fingerprints: Mapping[str, Float32Array], pinned: Mapping[str, str], min_cosine: float
) -> dict[str, str]:
    """Return adapter -> family, both as sha256.

    An adapter joins the family of the most similar earlier adapter if their cosine is at least `min_cosine`;
    otherwise it founds a family, which is named by its own sha256.

    fingerprints: in order of first_seen, so that a new adapter never changes the family of an older one.
    pinned: fixed families, by adapter; these adapters count as the earliest.
    """
    order = [sha256 for sha256 in fingerprints if sha256 in pinned]
    order += [sha256 for sha256 in fingerprints if sha256 not in pinned]
    families = {sha256: pinned[sha256] for sha256 in order if sha256 in pinned}
    if not order:
        return families
    matrix, first_free = np.stack([fingerprints[sha256] for sha256 in order]), len(families)
    for sha256, cosines in zip(order[first_free:], cosines_with_earlier(matrix, first_free), strict=True):
        families[sha256] = _family(sha256, cosines, order, families, min_cosine)
    return families


def _family(
    sha256: str, cosines: Float32Array, order: Sequence[str], families: Mapping[str, str], min_cosine: float
) -> str:
    if not cosines.size or cosines.max() < min_cosine:
        return sha256
    return families[order[int(cosines.argmax())]]


def assign_split(family: str, salt: str, test_share: float, validation_share: float) -> Split:
    """Return the split of a family, by its hash: new families never move older ones to another split.

    The test split does not depend on `validation_share`, which takes families from the training split only.
    """
    uniform = int(hash_value([salt, family])[:12], 16) / 16**12  # in [0, 1)
    if uniform < test_share:
        return "test"
    return "validation" if uniform < test_share + validation_share else "train"
