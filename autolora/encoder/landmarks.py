"""Features of a regression's rows, from their inner products with a random part of the rows, the landmarks.

This is the method of Nyström (Williams and Seeger 2001). If all rows are landmarks, the features are exact: their inner
products are those of the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS_AT_ONCE = 128
"""rows that are compared with the landmarks in one product: the landmarks are read from memory once for all"""
MIN_EIGENVALUE = 1e-9
"""eigenvalues of the landmarks' inner products below this share of the largest are dropped"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that are read when they are needed."""

    count: int
    read: Callable[[int], Tensor]
    """from the number of a row, from 0, to its values (D,)"""


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Adapters, less their mean, followed by concepts."""

    values: Tensor
    """(M, D)"""
    center: Tensor
    """(D,), mean of the adapters among the landmarks"""
    adapters: Sequence[int]
    """numbers of these adapters, ascending"""
    concepts: Sequence[int]
    """numbers of the concepts, ascending"""
    products: Tensor
    """(M, M), inner products of the landmarks"""
    root: Tensor
    """(M, R) float64, from inner products with the landmarks to features"""

    def adapter_features(self, adapters: Rows) -> tuple[Tensor, Tensor]:
        """Return the features (N, R) of adapters less the center, in float64, and the mean (D,) of all adapters."""
        features = self._known_features(adapters.count, self.adapters, self.products[: len(self.adapters)])
        total = torch.zeros_like(self.center)
        for numbers, values in self._read_others(adapters, self.adapters):
            values -= self.center
            total += values.sum(0)
            features[numbers] = self._features(values @ self.values.T)
        return features, self.center + total / adapters.count

    def concept_features(self, concepts: Rows) -> Tensor:
        """Return the features (C, R) of concepts, in float64."""
        features = self._known_features(concepts.count, self.concepts, self.products[len(self.adapters) :])
        for numbers, values in self._read_others(concepts, self.concepts):
            features[numbers] = self._features(values @ self.values.T)
        return features

    def write_weights(self, solution: Tensor, out: Tensor) -> None:
        """Write the weights (D, d) of the values, from those of the features (R, d)."""
        torch.mm(self.values.T, (self.root @ solution).to(out.dtype), out=out)

    def _features(self, products: Tensor) -> Tensor:
        return products.double() @ self.root

    def _known_features(self, count: int, landmarks: Sequence[int], products: Tensor) -> Tensor:
        """Return the features (count, R) of rows, of which only those of landmarks are set."""
        features = self.root.new_empty(count, self.root.shape[1])
        features[list(landmarks)] = self._features(products)
        return features

    def _read_others(self, rows: Rows, landmarks: Sequence[int]) -> Iterator[tuple[list[int], Tensor]]:
        """Yield the numbers and values of rows that are no landmarks, in one buffer that is written again."""
        others = sorted(set(range(rows.count)) - set(landmarks))
        buffer = self.values.new_empty(min(len(others), ROWS_AT_ONCE), self.values.shape[1])
        for start in range(0, len(others), ROWS_AT_ONCE):
            numbers = others[start : start + ROWS_AT_ONCE]
            yield numbers, _read(rows, numbers, buffer[: len(numbers)])


def draw_landmarks(adapters: Rows, concepts: Rows, limit: int, seed: int, like: Tensor) -> Landmarks:
    """Return random landmarks: at most `limit` adapters, and at most `limit` concepts.

    like: a tensor (D,) of the type and on the device of the landmarks.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = _draw(adapters.count, limit, generator)
    drawn_concepts = _draw(concepts.count, limit, generator)
    values = like.new_empty(len(drawn) + len(drawn_concepts), len(like))
    of_adapters = _read(adapters, drawn, values[: len(drawn)])
    _read(concepts, drawn_concepts, values[len(drawn) :])
    center = of_adapters.mean(0)
    of_adapters -= center
    products = values @ values.T
    root = _inverse_root(products.double())
    return Landmarks(values, center, drawn, drawn_concepts, products, root)


def _draw(count: int, limit: int, generator: torch.Generator) -> list[int]:
    """Return `limit` random numbers below `count`, or all of them if they are fewer, in ascending order."""
    return sorted(torch.randperm(count, generator=generator)[:limit].tolist())


def _read(rows: Rows, numbers: Sequence[int], out: Tensor) -> Tensor:
    """Return `out` (n, D) with the values of n rows."""
    for number, values in zip(numbers, out, strict=True):
        values.copy_(rows.read(number))
    return out


def _inverse_root(matrix: Tensor) -> Tensor:
    """Return R (M, R) with R·Rᵀ the pseudo-inverse of a symmetric positive semidefinite matrix (M, M)."""
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > MIN_EIGENVALUE * values.max()
    scaled: Tensor = vectors[:, kept] * values[kept].rsqrt()
    return scaled
