"""Copies of a LoRA as on hubs: the same or nearly the same update in another file."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from bench.synthetic import lay_out_peft, random, rotation

FP8_MAX = 448.0
"""largest finite float8_e4m3fn"""
ONETRAINER = ("lora_transformer_", ("lora_down", "lora_up"), "_")


@dataclass(frozen=True, slots=True)
class Copy:
    """One kind of copy."""

    name: str
    change: Callable[[Lora, str], Lora]
    """from the factors and a name that seeds random numbers to the factors of the copy"""
    required: bool = True
    """whether these copies must be found as near-duplicates; the others are only reported"""


def copies() -> tuple[Copy, ...]:
    """Return all kinds of copies; the required kinds are first."""
    return (
        Copy("re-saved", _resave),
        Copy("re-scaled", _rescale),
        Copy("re-quantized", _quantize),
        Copy("re-factored", _refactor),
        Copy("rank-padded", _pad),
        Copy(
            "cast to e4m3",
            lambda lora, _: _map_factors(lora, lambda x: x.to(torch.float8_e4m3fn)),
            required=False,
        ),
        Copy(
            "cast to e5m2",
            lambda lora, _: _map_factors(lora, lambda x: x.to(torch.float8_e5m2)),
            required=False,
        ),
        Copy("blocks re-scaled", _rescale_blocks, required=False),
    )


def lay_out_copy(copy: Copy, lora: Lora, name: str) -> dict[str, Tensor]:
    """Return the tensors of a copy's file: in OneTrainer's layout if it is re-saved, else in diffusers'."""
    layout = ONETRAINER if copy.name == "re-saved" else ()
    return lay_out_peft(copy.change(lora, name), *layout)


def _resave(lora: Lora, _: str) -> Lora:
    """Return the factors in half precision; the file also has another layout, with fused modules split."""
    return _map_factors(lora, lambda x: x.half())


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
        rotation_matrix = rotation(f"{seed_name}|{f.rank}", f.rank)
        sizes = torch.logspace(-1, 1, f.rank, base=4.0)
        down = (sizes[:, None] * rotation_matrix) @ f.down.float()
        up = f.up.float() @ (rotation_matrix.T / sizes)
        refactored[name] = Factors(down.bfloat16(), up.bfloat16(), f.scale)
    return refactored


def _pad(lora: Lora, _: str) -> Lora:
    """Return the same update with 50 % more ranks, which are zero; alpha preserves the scale."""
    padded: Lora = {}
    for name, f in lora.items():
        extra = f.rank // 2
        down = torch.cat((f.down, f.down[:extra].flip(1)))
        up = torch.cat((f.up, f.up.new_zeros(len(f.up), extra)), dim=1)
        padded[name] = Factors(down, up, f.scale)
    return padded


def _rescale_blocks(lora: Lora, seed_name: str) -> Lora:
    """Return each block with its own strength from 0.5 to 1.5, as tools for block weights do."""
    draw = random(seed_name)
    scaled: Lora = {}
    for _, names in groupby(lora, key=lambda name: name.split(".")[:2]):
        strength = float(draw.uniform(0.5, 1.5))
        scaled |= {n: Factors(lora[n].down, lora[n].up, strength * lora[n].scale) for n in names}
    return scaled


def _map_factors(lora: Lora, change: Callable[[Tensor], Tensor]) -> Lora:
    return {name: Factors(change(f.down), change(f.up), f.scale) for name, f in lora.items()}
