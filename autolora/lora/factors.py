"""Factors: one slot's low-rank update ΔW = scale · up · down, and a LoRA as a mapping of slots to factors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from autolora.slots import FusedSlot

ZERO_ENERGY = 1e-13
"""An update below this share of ‖up‖²·‖down‖² is zero to single precision."""
CANCELED = 1e-2
"""Below this share of the ranks' own energies they cancel each other: single precision is not enough."""
TINY = 1e-30
"""Energies below this lose digits in single precision."""
CORNER = 16
"""rows and columns of the part that is looked at before all of it"""
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""bytes of a floating-point number -> the integers of that size"""


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """ΔW = scale · up @ down, in the file's dtype; alpha is folded into `scale` and nowhere else."""

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
"""canonical slot name -> factors; a slot whose update is exactly zero is not in it"""


def delta(factors: Factors) -> Tensor:
    """Return ΔW (d_out, d_in) in float32. For tests and small models: the library never needs it whole."""
    return factors.scale * (factors.up.float() @ factors.down.float())


def energy(factors: Factors, grams: tuple[Tensor, Tensor] | None = None) -> float:
    """Return ‖ΔW‖² = scale² · tr(upᵀup · down·downᵀ), without forming ΔW: to 6 digits where nothing cancels.

    grams: upᵀup and down·downᵀ, (r, r) each in float64, where they were computed in single precision already.
    """
    return factors.scale**2 * _energies(factors, grams)[0]


def is_zero(factors: Factors, at_most: float = math.inf) -> bool:
    """Tell whether ΔW vanishes, also where neither factor does (zero to single precision).

    at_most: a bound on ‖up‖²·‖down‖², where one is known; with it most updates are told from zero at their first
    entry, and almost all at a corner.
    """
    if factors.scale == 0:
        return True
    first = sum(row * column for row, column in zip(*_first(factors), strict=True))
    if first * first > ZERO_ENERGY * at_most:
        return False
    corner = factors.up[:CORNER].double() @ factors.down[:, :CORNER].double()
    if float(corner.square().sum()) > ZERO_ENERGY * at_most:
        return False
    total, bound = _energies(factors)
    return total <= ZERO_ENERGY * bound


def largest(tensor: Tensor) -> float:
    """Return the largest magnitude of a floating-point tensor; inf or nan where it holds such a value.

    Read as integers, floats of one sign keep their order, with inf and nan above all: the largest signed integer
    is the largest positive float, the largest unsigned one the lowest negative float. Nothing is converted.
    """
    bits = tensor.view(BITS[tensor.dtype.itemsize]).numpy()
    signless = (1 << 8 * bits.itemsize - 1) - 1
    most = max(bits.max(initial=0), bits.view(f"u{bits.itemsize}").max(initial=0) & signless)
    return float(torch.from_numpy(np.array(most, bits.dtype)).view(tensor.dtype))


def fuse(lora: Mapping[str, Factors], slot: FusedSlot) -> Factors | None:
    """Return the exact update of a fused slot in float32: down stacked, up block-diagonal, scale 1.

    A part without an update is a block of zero rows; None when no part has one.
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
    """Return the fused view of a LoRA, in the order of the fused slots; those without an update are not in it."""
    found = {slot.name: fuse(lora, slot) for slot in slots}
    return {name: factors for name, factors in found.items() if factors is not None}


def with_one_scale(lora: Mapping[str, Factors]) -> Lora:
    """Return the LoRA with its first slot's scale everywhere: the released loader takes one alpha for a file."""
    first = next((factors.scale for factors in lora.values()), 1.0)
    return {name: replace(factors, scale=first) for name, factors in lora.items()}


def split(down: Tensor, up: Tensor, scale: float, rows: Sequence[int]) -> list[Factors]:
    """Cut a fused update into its parts, exactly: the parts share `down` and take their rows of `up`.

    down: (r, d_in), up: (sum(rows), r). Ranks that do nothing in a part are cut from it: where `up` is
    block-diagonal (sd-scripts' `split_qkv`) each part keeps its own block. Views where nothing is cut.
    """
    if len(rows) == 1:
        return [trim(Factors(down, up, scale))]
    return [trim(Factors(down, part, scale)) for part in torch.split(up, list(rows))]


def trim(factors: Factors) -> Factors:
    """Cut the ranks whose row of `down` or column of `up` is zero; the update stays the same."""
    if all(map(all, _first(factors))):
        return factors
    if bool(_alive(factors.down[:, :CORNER], factors.up[:CORNER]).all()):
        return factors
    alive = _alive(factors.down, factors.up)
    if bool(alive.all()):
        return factors
    return Factors(factors.down[alive], factors.up[:, alive], factors.scale)


def _alive(down: Tensor, up: Tensor) -> Tensor:
    """Return which ranks (r,) have anything but zeros in both factors."""
    return (up != 0).any(dim=0) & (down != 0).any(dim=1)


def _first(factors: Factors) -> tuple[list[float], list[float]]:
    """Return the first row of `up` and the first column of `down`, (r,) each: they make the first entry of ΔW."""
    return factors.up[0].tolist(), factors.down[:, 0].tolist()


def _energies(factors: Factors, grams: tuple[Tensor, Tensor] | None = None) -> tuple[float, float]:
    """Return ‖up·down‖² and ‖up‖²·‖down‖², in double precision where single would not do."""
    left, right = grams or _grams(factors.up.float(), factors.down.float())
    total, apart = _dot(left, right), _dot(left.diagonal(), right.diagonal())
    if not (total > CANCELED * apart and TINY < apart < math.inf):
        left, right = _grams(factors.up.double(), factors.down.double())
        total = _dot(left, right)
    return total, float(left.trace()) * float(right.trace())


def _grams(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """Return upᵀup and down·downᵀ, both (r, r) in float64, computed in the dtype given."""
    return (up.T @ up).double(), (down @ down.T).double()


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
