"""Exact and near duplicates among the files that are inspected, each compared with those before it."""

from dataclasses import dataclass

import numpy as np

from autolora.lora.fingerprint import WIDTH, fingerprint
from autolora.lora.sketch import Sketch

COSINE_DIGITS = 4
FIRST_ROWS = 64
"""fingerprints for which there is memory at the beginning; it doubles when it is full"""


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicate:
    """An earlier file with nearly the same update, perhaps of another strength."""

    path: str
    cosine: float
    """of the fingerprints"""
    strength: float
    """norm of the later file's update relative to that of the earlier one"""


class EarlierFiles:
    """The files inspected so far: 4 kB each, so that tens of thousands fit into memory."""

    def __init__(self, near_duplicate_cosine: float) -> None:
        """near_duplicate_cosine: from which the later file is a near-duplicate."""
        self._threshold = near_duplicate_cosine
        self._paths: dict[str, str] = {}
        self._compared: list[tuple[str, float]] = []
        self._fingerprints = np.empty((FIRST_ROWS, WIDTH), dtype=np.float32)

    def find_exact(self, sha256: str, path: str) -> str | None:
        """Return the path of an earlier file with the same bytes; remember this one if there is none."""
        first = self._paths.setdefault(sha256, path)
        return None if first == path else first

    def find_near(self, sketch: Sketch, norm: float, path: str) -> NearDuplicate | None:
        """Return the most similar earlier file if it is a near-duplicate; remember this one otherwise.

        So each file of a group is compared with the first one of the group. norm: of the sketched update.
        """
        own = fingerprint(sketch.values.numpy())
        cosines = self._fingerprints[: len(self._compared)] @ own
        nearest = int(cosines.argmax()) if len(cosines) else -1
        if nearest >= 0 and cosines[nearest] >= self._threshold:
            earlier, earlier_norm = self._compared[nearest]
            cosine = min(1.0, round(float(cosines[nearest]), COSINE_DIGITS))
            return NearDuplicate(path=earlier, cosine=cosine, strength=float(f"{norm / earlier_norm:.3g}"))
        self._append(own)
        self._compared.append((path, norm))
        return None

    def _append(self, own: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
        count = len(self._compared)
        if count == len(self._fingerprints):
            self._fingerprints = np.concatenate([self._fingerprints, np.empty_like(self._fingerprints)])
        self._fingerprints[count] = own
