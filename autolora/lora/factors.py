"""Factors: one slot's low-rank update ΔW = scale · up · down, and a LoRA as a mapping of slots to factors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autolora.lora.slots import FusedSlot

ZERO_SHARE = 1e-13
"""an update with ‖ΔW‖² below this share of ‖up‖²·‖down‖² is zero to single precision"""
CANCELLATION_SHARE = 1e-2
"""if ‖ΔW‖² is below this share of the sum over its ranks, they cancel and double precision is needed"""
MIN_SINGLE_PRECISION = 1e-30
"""squared norms below this lose digits in single precision"""
CORNER = 16
"""rows and columns of the corner that is checked before the whole matrix"""
INT_DTYPES = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""bytes of a floating-point number -> integer dtype of the same size"""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """ΔW = scale · up @ down, in the file's dtype; alpha is contained in `scale` only."""

    down: Tensor
    """(r, d_in)"""
    up: Tensor
    """(d_out, r)"""
    scale: float

    @property
    def rank(self) -> int:
        """The number of rows of `down`; the rank of ΔW is at most this."""
        return self.down.shape[0]


Lora = dict[str, Factors]
"""canonical slot name -> factors; slots whose update is exactly zero are absent"""


@dataclass(frozen=True, slots=True, eq=False)
class Kronecker:
    """ΔW = rows of scale · w1 ⊗ w2: an update of any rank, which is applied without forming it."""

    w1: Tensor
    """(m1, n1)"""
    w2: Tensor
    """(m2, n2)"""
    scale: float
    row: int
    """first row of w1 ⊗ w2 (m1·m2 rows) that belongs to the update"""
    d_out: int
    """number of rows"""

    @property
    def rank(self) -> int:
        """Return the bound on the rank that the shapes give."""
        return min(self.w1.shape) * min(self.w2.shape)

    @property
    def is_zero(self) -> bool:
        """Return whether ΔW is zero."""
        rows = (self.w1 != 0).any(1)[:, None] & (self.w2 != 0).any(1)
        return self.scale == 0 or not bool(rows.flatten()[self.row : self.row + self.d_out].any())

    def apply(self, x: Tensor) -> Tensor:
        """Return ΔW · x (d_out, p) in float32 for x (n1·n2, p): each column q is w1 · mat(q) · w2ᵀ, mat(q) (n1, n2)."""
        (m2, n2), p = self.w2.shape, x.shape[1]
        first = self.row // m2
        w1 = self.w1[first : -(-(self.row + self.d_out) // m2)].float()
        inner = torch.matmul(self.w2.float(), x.view(-1, n2, p))
        product = (w1 @ inner.view(len(inner), m2 * p)).view(-1, p)
        start = self.row - first * m2
        return product[start : start + self.d_out] * self.scale


def delta(factors: Factors) -> Tensor:
    """Return ΔW (d_out, d_in) in float32. For tests and small models: the library never forms it."""
    return factors.scale * (factors.up.float() @ factors.down.float())


def squared_norm(factors: Factors) -> float:
    """Return ‖ΔW‖² = scale² · tr(upᵀup · down·downᵀ), without forming ΔW; accurate to 6 digits."""
    return factors.scale**2 * _squared_norms(factors)[0]


def is_zero(factors: Factors) -> bool:
    """Return whether ΔW is zero to single precision, also if neither factor is.

    An entry or a corner of ΔW in which the ranks do not cancel each other shows for nearly all updates that they are
    not zero, without reading all values.
    """
    if factors.scale == 0:
        return True
    terms = [row * column for row, column in zip(*_first_entry(factors), strict=True)]
    entry = sum(terms)
    if entry * entry > CANCELLATION_SHARE * sum(term * term for term in terms):
        return False
    up, down = factors.up[:CORNER].double(), factors.down[:, :CORNER].double()
    by_rank = _dot(up.square().sum(0), down.square().sum(1))
    if float((up @ down).square().sum()) > CANCELLATION_SHARE * by_rank:
        return False
    total, product = _squared_norms(factors)
    return total <= ZERO_SHARE * product


def max_abs(tensor: Tensor) -> float:
    """Return the largest magnitude in a floating-point tensor; inf or nan if it contains such a value.

    The bits are compared as integers, which preserves the order of floats of one sign, with inf and nan above all:
    the largest signed integer is the largest positive float, the largest unsigned one the lowest negative float.
    This avoids converting 8- and 16-bit floats.
    """
    bits = tensor.view(INT_DTYPES[tensor.dtype.itemsize]).numpy()
    magnitude_mask = (1 << 8 * bits.itemsize - 1) - 1
    largest = max(bits.max(initial=0), bits.view(f"u{bits.itemsize}").max(initial=0) & magnitude_mask)
    return float(torch.from_numpy(np.array(largest, bits.dtype)).view(tensor.dtype))


def fuse(lora: Mapping[str, Factors], slot: FusedSlot) -> Factors | None:
    """Return the exact update of a fused slot in float32: down stacked, up block-diagonal, scale 1.

    The rows of a part without an update are zero. Return None if no part has an update.
    """
    present = [part for part in slot.parts if part.name in lora]
    if not present:
        return None
    downs = [lora[part.name].down.float() for part in present]
    up = torch.zeros(slot.d_out, sum(down.shape[0] for down in downs), device=downs[0].device)
    column = 0
    for part in present:
        factors = lora[part.name]
        block = up[part.row : part.row + part.d_out, column : column + factors.rank]
        block.copy_(factors.scale * factors.up.float())
        column += factors.rank
    return Factors(down=torch.cat(downs), up=up, scale=1.0)


def fuse_all(lora: Mapping[str, Factors], slots: Sequence[FusedSlot]) -> Lora:
    """Return the fused view of a LoRA, in the order of the fused slots; slots without an update are absent."""
    fused = {slot.name: fuse(lora, slot) for slot in slots}
    return {name: factors for name, factors in fused.items() if factors is not None}


def with_one_scale(lora: Mapping[str, Factors]) -> Lora:
    """Return the LoRA with its first slot's scale in every slot: the released loader uses one alpha per file."""
    first = next((factors.scale for factors in lora.values()), 1.0)
    return {name: replace(factors, scale=first) for name, factors in lora.items()}


def split(down: Tensor, up: Tensor, scale: float, rows: Sequence[int]) -> list[Factors]:
    """Return the exact parts of a fused update: they share `down`, and each has its rows of `up`.

    down: (r, d_in), up: (sum(rows), r). Ranks that are zero in a part are dropped from it: if `up` is
    block-diagonal (sd-scripts' `split_qkv`), each part keeps its own block. Parts are views if nothing is dropped.
    """
    if len(rows) == 1:
        return [drop_zero_ranks(Factors(down, up, scale))]
    return [drop_zero_ranks(Factors(down, part, scale)) for part in torch.split(up, list(rows))]


def drop_zero_ranks(factors: Factors) -> Factors:
    """Return the same update without ranks whose row of `down` or column of `up` is zero."""
    if all(map(all, _first_entry(factors))):
        return factors
    if bool(_nonzero_ranks(factors.down[:, :CORNER], factors.up[:CORNER]).all()):
        return factors
    nonzero = _nonzero_ranks(factors.down, factors.up)
    if bool(nonzero.all()):
        return factors
    return Factors(factors.down[nonzero], factors.up[:, nonzero], factors.scale)


def _nonzero_ranks(down: Tensor, up: Tensor) -> Tensor:
    """Return a mask (r,) of the ranks with a nonzero entry in both factors."""
    return (up != 0).any(dim=0) & (down != 0).any(dim=1)


def _first_entry(factors: Factors) -> tuple[list[float], list[float]]:
    """Return the first row of `up` and the first column of `down`, (r,) each; their product is ΔW[0, 0]."""
    return factors.up[0].tolist(), factors.down[:, 0].tolist()


def _squared_norms(factors: Factors) -> tuple[float, float]:
    """Return ‖up·down‖² and ‖up‖²·‖down‖², in double precision if single precision is not enough."""
    left, right = _grams(factors.up.float(), factors.down.float())
    total, by_rank = _dot(left, right), _dot(left.diagonal(), right.diagonal())
    if not (total > CANCELLATION_SHARE * by_rank and MIN_SINGLE_PRECISION < by_rank < math.inf):
        left, right = _grams(factors.up.double(), factors.down.double())
        total = _dot(left, right)
    return total, float(left.trace()) * float(right.trace())


def _grams(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return upᵀup and down·downᵀ, both (r, r) in float64, computed in the dtype of the factors."""
    return (up.T @ up).double(), (down @ down.T).double()


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
