"""Principal components of fingerprints: adapters by their weights, without anything learned from texts."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from autolora.storage.arrays import Float32Array, Float64Array

COMPONENTS = 64
MIN_LENGTH = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalComponents:
    """The directions in which rows vary most."""

    mean: Float32Array
    """(w,)"""
    axes: Float32Array
    """(w, c), orthonormal"""

    @classmethod
    def of(cls, rows: Float32Array) -> Self:
        """Return the COMPONENTS largest of rows (N, w); fewer if N - 1 or w is smaller."""
        mean = rows.mean(axis=0)
        centered = rows - mean
        count = min(COMPONENTS, max(len(rows) - 1, 1), rows.shape[1])
        _, vectors = np.linalg.eigh((centered.T @ centered).astype(np.float64))
        return cls(mean, vectors[:, -count:].astype(np.float32))

    def project(self, rows: Float32Array) -> Float64Array:
        """Return unit rows (N, c): their inner products are cosines of components."""
        projected = ((rows - self.mean) @ self.axes).astype(np.float64)
        unit: Float64Array = projected / np.maximum(
            np.linalg.norm(projected, axis=1, keepdims=True), MIN_LENGTH
        )
        return unit
