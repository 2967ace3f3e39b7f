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
    """Rows, less their mean."""

    values: Tensor
    """(M, D)"""
    center: Tensor
    """(D,), mean of the landmarks"""
    numbers: Sequence[int]
    """numbers of these rows, ascending"""
    products: Tensor
    """(M, M), inner products of the landmarks"""
    root: Tensor
    """(M, R) float64, from inner products with the landmarks to features"""

    def features(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return the features (N, R) of rows less the center, in float64, and the mean (D,) of all rows."""
        features = self.root.new_empty(rows.count, self.root.shape[1])
        features[list(self.numbers)] = self._features(self.products)
        total = torch.zeros_like(self.center)
        for numbers, values in self._read_others(rows):
            values -= self.center
            total += values.sum(0)
            features[numbers] = self._features(values @ self.values.T)
        return features, self.center + total / rows.count

    def write_weights(self, solution: Tensor, out: Tensor) -> None:
        """Write the weights (D, d) of the values, from those of the features (R, d)."""
        torch.mm(self.values.T, (self.root @ solution).to(out.dtype), out=out)

    def _features(self, products: Tensor) -> Tensor:
        return products.double() @ self.root

    def _read_others(self, rows: Rows) -> Iterator[tuple[list[int], Tensor]]:
        """Yield the numbers and values of rows that are no landmarks, in one buffer that is written again."""
        others = sorted(set(range(rows.count)) - set(self.numbers))
        buffer = self.values.new_empty(min(len(others), ROWS_AT_ONCE), self.values.shape[1])
        for start in range(0, len(others), ROWS_AT_ONCE):
            numbers = others[start : start + ROWS_AT_ONCE]
            yield numbers, _read(rows, numbers, buffer[: len(numbers)])


def draw_landmarks(rows: Rows, limit: int, seed: int, like: Tensor) -> Landmarks:
    """Return `limit` random rows as landmarks, or all of them if they are fewer.

    like: a tensor (D,) of the type and on the device of the landmarks.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = sorted(torch.randperm(rows.count, generator=generator)[:limit].tolist())
    values = _read(rows, drawn, like.new_empty(len(drawn), len(like)))
    center = values.mean(0)
    values -= center
    products = values @ values.T
    root = _inverse_root(products.double())
    return Landmarks(values, center, drawn, products, root)


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
