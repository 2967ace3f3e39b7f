"""Products: what a module's tensors multiply out to, as exact factors up · down.

* LoRA: ΔW = s · up · down, with down (r, d_in) and up (d_out, r).
* LoHa: ΔW = s · (w1_a·w1_b) ⊙ (w2_a·w2_b). An elementwise product of ranks r1 and r2 has rank r1·r2: column
  (i, j) of `up` is w1_a[:, i] ⊙ w2_a[:, j], row (i, j) of `down` is w1_b[i] ⊙ w2_b[j].
* LoKr: ΔW = s · w1 ⊗ w2, each in full or as w_a·w_b. (U1·V1) ⊗ (U2·V2) = (U1 ⊗ U2)·(V1 ⊗ V2), so the ranks
  multiply here as well; a matrix in full is itself times an identity on its shorter side.

Shapes, scales and what alpha is divided by are LyCORIS' (lycoris-lora 4.1.3, modules/loha.py and modules/lokr.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autolora.lora.verdict import refusal

Shape = tuple[int, ...]

# kind of update -> the sets of roles that make one
FORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lora": (("down", "up"),),
    "loha": (("w1_a", "w1_b", "w2_a", "w2_b"),),
    "lokr": (
        ("w1", "w2"),
        ("w1", "w2_a", "w2_b"),
        ("w1_a", "w1_b", "w2"),
        ("w1_a", "w1_b", "w2_a", "w2_b"),
    ),
}
FLOAT_BYTES = 4
LARGEST_FORM = 2_000_000_000
"""bytes that the factors of all LoHas and LoKrs of a file may take in memory"""
RANK_CODES = {"lora": "rank-out-of-bounds", "loha": "loha", "lokr": "lokr"}
"""kind of update -> reason code where its rank is out of bounds"""


@dataclass(frozen=True, slots=True)
class Measure:
    """The size of one module's update, as the header tells it."""

    d_in: int
    d_out: int
    rank: int
    """of the factors that `multiply` returns; a full matrix in a LoKr counts with its shorter side"""
    divisor: int | None
    """what alpha is divided by; None where there is nothing to divide by and the scale is 1"""

    @property
    def numbers(self) -> int:
        """How many numbers its factors hold."""
        return self.rank * (self.d_in + self.d_out)


def measure(kind: str, path: str, shapes: Mapping[str, Shape]) -> Measure:
    """Return the size of a module's update from its tensors' shapes, by role.

    Raises RefusedFile shape-mismatch when the tensors cannot be multiplied.
    """
    if any(len(shape) != 2 for shape in shapes.values()):
        raise _misfit(path, shapes)
    if kind == "lora":
        return _measure_lora(path, shapes)
    first, second = (_measure_half(path, shapes, half) for half in ("w1", "w2"))
    if kind == "lokr":
        size = (first.d_in * second.d_in, first.d_out * second.d_out)
        return Measure(*size, _least(first) * _least(second), first.divisor or second.divisor)
    if (first.d_in, first.d_out) != (second.d_in, second.d_out):
        raise _misfit(path, shapes)
    return Measure(first.d_in, first.d_out, first.rank * second.rank, first.divisor)


def check_size(measures: Sequence[tuple[str, Measure]]) -> None:
    """Refuse what would not fit into memory: LoHas and LoKrs are small in the file alone.

    measures: kind and size of each module. Raises RefusedFile loha or lokr.
    """
    made = {kind: sum(size.numbers for one, size in measures if one == kind) for kind in ("loha", "lokr")}
    if FLOAT_BYTES * sum(made.values()) > LARGEST_FORM:
        size = FLOAT_BYTES * sum(made.values()) / 1e9
        raise refusal(
            max(made, key=lambda kind: made[kind]),
            f"its factors would take {size:.1f} GB, allowed are {LARGEST_FORM / 1e9:.1f}",
        )


def multiply(kind: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return down (r, d_in) and up (d_out, r), r as `measure` says, from a module's tensors, by role.

    A LoRA's are its own tensors; others are new ones, in float32 (float64 where a tensor is).
    """
    if kind == "lora":
        return tensors["down"], tensors["up"]
    exact = {
        role: tensor if tensor.dtype == torch.float64 else tensor.float() for role, tensor in tensors.items()
    }
    if kind == "loha":
        return _pair(exact["w1_b"], exact["w2_b"]), _pair(exact["w1_a"].T, exact["w2_a"].T).T
    (down1, up1), (down2, up2) = (_factor(exact, half) for half in ("w1", "w2"))
    return torch.kron(down1, down2), torch.kron(up1, up2)


def _measure_lora(path: str, shapes: Mapping[str, Shape]) -> Measure:
    (rank, d_in), (d_out, columns) = shapes["down"], shapes["up"]
    if rank != columns:
        raise _misfit(path, shapes)
    return Measure(d_in, d_out, rank, rank)


def _measure_half(path: str, shapes: Mapping[str, Shape], half: str) -> Measure:
    """Return the size of one of the two matrices of a LoHa or LoKr, stored in full or as a product."""
    if half in shapes:
        d_out, d_in = shapes[half]
        return Measure(d_in, d_out, min(d_in, d_out), None)
    (d_out, columns), (rank, d_in) = shapes[f"{half}_a"], shapes[f"{half}_b"]
    if rank != columns:
        raise _misfit(path, shapes)
    return Measure(d_in, d_out, rank, rank)


def _least(half: Measure) -> int:
    """Return the rank with which `_factor` returns one half of a LoKr."""
    return min(half.rank, half.d_in, half.d_out)


def _misfit(path: str, shapes: Mapping[str, Shape]) -> Exception:
    sizes = ", ".join(f"{role} {list(shape)}" for role, shape in shapes.items())
    return refusal("shape-mismatch", f"{path[:100]}: {sizes} cannot be multiplied")


def _pair(first: Tensor, second: Tensor) -> Tensor:
    """Return the products (r1·r2, n) of every row of `first` (r1, n) with every row of `second` (r2, n)."""
    return (first[:, None, :] * second[None, :, :]).reshape(-1, first.shape[1])


def _factor(tensors: Mapping[str, Tensor], half: str) -> tuple[Tensor, Tensor]:
    """Return down and up of one half of a LoKr.

    The identity of a full matrix stands on the left where the matrix is square or wide: `split` can then cut it.
    """
    if half not in tensors:
        down, up = tensors[f"{half}_b"], tensors[f"{half}_a"]
        if len(down) <= min(len(up), down.shape[1]):
            return down, up
    full = tensors[half] if half in tensors else up @ down
    d_out, d_in = full.shape
    if d_out <= d_in:
        return full, torch.eye(d_out, dtype=full.dtype)
    return torch.eye(d_in, dtype=full.dtype), full
