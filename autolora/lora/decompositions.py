"""Decompositions: converting LoRA, LoHa and LoKr modules to exact factors up · down.

* LoRA: ΔW = s · up · down, with down (r, d_in) and up (d_out, r).
* LoHa: ΔW = s · (w1_a·w1_b) ⊙ (w2_a·w2_b). An elementwise product of ranks r1 and r2 has rank r1·r2: column
  (i, j) of `up` is w1_a[:, i] ⊙ w2_a[:, j], row (i, j) of `down` is w1_b[i] ⊙ w2_b[j].
* LoKr: ΔW = s · w1 ⊗ w2, each stored in full or as w_a·w_b. (U1·V1) ⊗ (U2·V2) = (U1 ⊗ U2)·(V1 ⊗ V2), so the ranks
  multiply here as well; a full matrix is factored as itself times an identity on its shorter side.

Shapes, scales and the divisor of alpha follow LyCORIS (lycoris-lora 4.1.3, modules/loha.py and modules/lokr.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.verdict import refusal

Shape = tuple[int, ...]

# kind of update -> the sets of tensor roles that define one
ROLE_SETS: dict[str, tuple[tuple[str, ...], ...]] = {
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
MAX_FACTOR_BYTES = 2_000_000_000
"""limit on the memory of all factors of a file's LoHas and LoKrs"""
RANK_CODES = {"lora": "rank-out-of-bounds", "loha": "loha", "lokr": "lokr"}
"""kind of update -> reason code if its rank is out of bounds"""


@dataclass(frozen=True, slots=True)
class UpdateSize:
    """The size of one module's update, computed from the shapes in the header."""

    d_in: int
    d_out: int
    rank: int
    """of the factors that `build_factors` returns; a full matrix in a LoKr contributes its shorter side"""
    divisor: int | None
    """what alpha is divided by; None for a LoKr of two full matrices, whose scale is 1 unless a config states a rank"""
    products: int = 0
    """number of entries of the matrices of a LoKr that `build_matrices` computes"""

    @property
    def numel(self) -> int:
        """Return the number of entries of the two factors."""
        return self.rank * (self.d_in + self.d_out)


def compute_size(kind: str, path: str, shapes: Mapping[str, Shape]) -> UpdateSize:
    """Return the size of a module's update from its tensors' shapes, by role.

    A shape is (rows, columns), or (rows, columns, 1, 1) as tools for convolutions write it.
    Raises RefusedFile shape-mismatch if the tensors cannot be multiplied.
    """
    shapes = {role: _matrix_shape(path, role, shape) for role, shape in shapes.items()}
    if kind == "lora":
        return _lora_size(path, shapes)
    first, second = (_half_size(path, shapes, half) for half in ("w1", "w2"))
    if kind == "lokr":
        size = (first.d_in * second.d_in, first.d_out * second.d_out)
        products = sum(half.d_in * half.d_out for half in (first, second) if half.divisor)
        rank = _half_rank(first) * _half_rank(second)
        return UpdateSize(*size, rank, first.divisor or second.divisor, products)
    if (first.d_in, first.d_out) != (second.d_in, second.d_out):
        raise _shape_mismatch(path, shapes)
    return UpdateSize(first.d_in, first.d_out, first.rank * second.rank, first.divisor)


def check_memory(entries: Sequence[tuple[str, int]]) -> None:
    """Refuse LoHas and LoKrs whose factors would not fit into memory, however small the file is.

    entries: kind of each module, and number of entries of its factors. Raises RefusedFile loha or lokr.
    """
    numel = {code: sum(count for kind, count in entries if kind == code) for code in ("loha", "lokr")}
    if FLOAT_BYTES * sum(numel.values()) > MAX_FACTOR_BYTES:
        gigabytes = FLOAT_BYTES * sum(numel.values()) / 1e9
        raise refusal(
            max(numel, key=lambda code: numel[code]),
            f"its factors need {gigabytes:.1f} GB of memory, the limit is {MAX_FACTOR_BYTES / 1e9:.1f} GB",
        )


def build_factors(kind: str, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return down (r, d_in) and up (d_out, r) from a module's tensors, by role; r is the rank of `compute_size`.

    A LoRA's factors are its stored tensors; those of other kinds are new tensors in float32, or in float64 if a
    stored tensor is float64.
    """
    tensors = {role: tensor.flatten(1) for role, tensor in tensors.items()}
    if kind == "lora":
        return tensors["down"], tensors["up"]
    exact = {
        role: tensor if tensor.dtype == torch.float64 else tensor.float() for role, tensor in tensors.items()
    }
    if kind == "loha":
        down = _pairwise_row_products(exact["w1_b"], exact["w2_b"])
        return down, _pairwise_row_products(exact["w1_a"].T, exact["w2_a"].T).T
    (down1, up1), (down2, up2) = (_factor_half(exact, half) for half in ("w1", "w2"))
    return torch.kron(down1, down2), torch.kron(up1, up2)


def build_matrices(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the two matrices of a LoKr from its tensors, by role; products are new tensors in float32."""
    flat = {role: tensor.flatten(1) for role, tensor in tensors.items()}
    w1, w2 = (
        flat[half] if half in flat else flat[f"{half}_a"].float() @ flat[f"{half}_b"].float()
        for half in ("w1", "w2")
    )
    return w1, w2


def _matrix_shape(path: str, role: str, shape: Shape) -> Shape:
    """Return (rows, columns) of a matrix or of the weight of a 1 × 1 convolution."""
    if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)):
        return shape[:2]
    found = f"a convolution with a kernel of {shape[2]} × {shape[3]}" if len(shape) == 4 else "not a matrix"
    raise refusal("shape-mismatch", f"{path[:100]}: {role} {list(shape)} is {found}, expected a matrix")


def _lora_size(path: str, shapes: Mapping[str, Shape]) -> UpdateSize:
    (rank, d_in), (d_out, columns) = shapes["down"], shapes["up"]
    if rank != columns:
        raise _shape_mismatch(path, shapes)
    return UpdateSize(d_in, d_out, rank, rank)


def _half_size(path: str, shapes: Mapping[str, Shape], half: str) -> UpdateSize:
    """Return the size of one of the two matrices of a LoHa or LoKr, which is stored in full or as a product."""
    if half in shapes:
        d_out, d_in = shapes[half]
        return UpdateSize(d_in, d_out, min(d_in, d_out), None)
    (d_out, columns), (rank, d_in) = shapes[f"{half}_a"], shapes[f"{half}_b"]
    if rank != columns:
        raise _shape_mismatch(path, shapes)
    return UpdateSize(d_in, d_out, rank, rank)


def _half_rank(half: UpdateSize) -> int:
    """Return the rank of the factors that `_factor_half` returns for one half of a LoKr."""
    return min(half.rank, half.d_in, half.d_out)


def _shape_mismatch(path: str, shapes: Mapping[str, Shape]) -> RefusedFile:
    listed = ", ".join(f"{role} {list(shape)}" for role, shape in shapes.items())
    return refusal("shape-mismatch", f"{path[:100]}: {listed} cannot be multiplied")


def _pairwise_row_products(first: Tensor, second: Tensor) -> Tensor:
    """Return the elementwise products (r1·r2, n) of each row of `first` (r1, n) with each row of `second` (r2, n)."""
    return (first[:, None, :] * second[None, :, :]).reshape(-1, first.shape[1])


def _factor_half(tensors: Mapping[str, Tensor], half: str) -> tuple[Tensor, Tensor]:
    """Return down and up of one half of a LoKr.

    A square or wide full matrix is identity · matrix, so that `factors.split` can drop ranks of its parts.
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
