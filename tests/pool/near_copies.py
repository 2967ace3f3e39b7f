"""Copies of a LoRA as on hubs: the same or nearly the same update in another file."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from tests.lora.writing import peft

FP8_MAX = 448.0
"""largest finite float8_e4m3fn"""
ONETRAINER = ("lora_transformer_", ("lora_down", "lora_up"), "_")


@dataclass(frozen=True, slots=True)
class Copy:
    """One kind of copy."""

    name: str
    change: Callable[[Lora, str], Lora]
    """from the factors and a name that seeds random numbers to the factors of the copy"""


def copies() -> tuple[Copy, ...]:
    """Return all kinds of copies."""
    return (
        Copy("re-saved", _resave),
        Copy("re-scaled", _rescale),
        Copy("re-quantized", _quantize),
        Copy("re-factored", _refactor),
        Copy("rank-padded", _pad),
    )


def lay_out_copy(copy: Copy, lora: Lora, name: str) -> dict[str, Tensor]:
    """Return the tensors of a copy's file: in OneTrainer's layout if it is re-saved, else in diffusers'."""
    layout = ONETRAINER if copy.name == "re-saved" else ()
    return peft(copy.change(lora, name), *layout)


def _resave(lora: Lora, _: str) -> Lora:
    """Return the factors in half precision; the file also has another layout, with fused modules split."""
    return {name: Factors(f.down.half(), f.up.half(), f.scale) for name, f in lora.items()}


def _rescale(lora: Lora, _: str) -> Lora:
    return {name: Factors(f.down, f.up, 0.37 * f.scale) for name, f in lora.items()}


def _quantize(lora: Lora, _: str) -> Lora:
    """Return float8_e4m3fn factors that use the full range in each tensor, compensated by alpha."""
    return {name: _quantize_slot(factors) for name, factors in lora.items()}


def _quantize_slot(factors: Factors) -> Factors:
    tensors, scale = [], factors.scale
    for tensor in (factors.down.float(), factors.up.float()):
        unit = float(tensor.abs().max()) / FP8_MAX
        tensors.append((tensor / unit).to(torch.float8_e4m3fn))
        scale *= unit
    return Factors(tensors[0], tensors[1], scale)


def _refactor(lora: Lora, seed_name: str) -> Lora:
    """Return RA and BR⁻¹ in bfloat16, with a random R of condition number 16."""
    refactored: Lora = {}
    for name, f in lora.items():
        rotation = _rotation(f"{seed_name}|{f.rank}", f.rank)
        sizes = torch.logspace(-1, 1, f.rank, base=4.0)
        down = (sizes[:, None] * rotation) @ f.down.float()
        up = f.up.float() @ (rotation.T / sizes)
        refactored[name] = Factors(down.bfloat16(), up.bfloat16(), f.scale)
    return refactored


def _rotation(name: str, rank: int) -> Tensor:
    """Return a random rotation (rank, rank)."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    rotation: Tensor = torch.linalg.qr(torch.randn(rank, rank, generator=generator))[0]
    return rotation


def _pad(lora: Lora, _: str) -> Lora:
    """Return the same update with 50 % more ranks, which are zero; alpha preserves the scale."""
    padded: Lora = {}
    for name, f in lora.items():
        extra = f.rank // 2
        down = torch.cat((f.down, f.down[:extra].flip(1)))
        up = torch.cat((f.up, f.up.new_zeros(len(f.up), extra)), dim=1)
        padded[name] = Factors(down, up, f.scale)
    return padded
