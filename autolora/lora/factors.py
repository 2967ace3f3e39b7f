"""Factors: one slot's low-rank update ΔW = scale · up · down, and a LoRA as a mapping of slots to factors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from autolora.slots import FusedSlot

ZERO_ENERGY = 1e-13
"""An update below this share of ‖up‖²·‖down‖² is zero to single precision."""


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


def energy(factors: Factors) -> float:
    """Return ‖ΔW‖² = scale² · tr(upᵀup · down·downᵀ), in float64, without forming ΔW."""
    left, right = _grams(factors)
    return factors.scale**2 * float((left * right).sum())


def is_zero(factors: Factors) -> bool:
    """Tell whether ΔW vanishes, also where neither factor does (zero to single precision)."""
    left, right = _grams(factors)
    bound = ZERO_ENERGY * float(left.trace()) * float(right.trace())
    return factors.scale == 0 or float((left * right).sum()) <= bound


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
    return [trim(Factors(down, part, scale)) for part in torch.split(up, list(rows))]


def trim(factors: Factors) -> Factors:
    """Cut the ranks whose row of `down` or column of `up` is zero; the update stays the same."""
    alive = (factors.up != 0).any(dim=0) & (factors.down != 0).any(dim=1)
    if bool(alive.all()):
        return factors
    return Factors(factors.down[alive], factors.up[:, alive], factors.scale)


def _grams(factors: Factors) -> tuple[Tensor, Tensor]:
    """Return upᵀup and down·downᵀ, both (r, r) in float64."""
    up, down = factors.up.double(), factors.down.double()
    return up.T @ up, down @ down.T
