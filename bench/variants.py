"""Copies of a LoRA as they turn up on hubs: the same update, or nearly, in another file."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from bench.synthetic import lay_out_peft, random, rotation

FP8_LARGEST = 448.0
"""the largest number of float8_e4m3fn"""
ONETRAINER = ("lora_transformer_", ("lora_down", "lora_up"), "_")


@dataclass(frozen=True, slots=True)
class Copy:
    """One way in which an adapter comes back."""

    name: str
    change: Callable[[Lora, str], Lora]
    """the factors, and a name to draw from"""
    asked: bool = True
    """whether it counts among the near-duplicates that must be found; the others are only reported"""


def copies() -> tuple[Copy, ...]:
    """Return all kinds of copy, those that must be found first."""
    return (
        Copy("re-saved", _resave),
        Copy("re-scaled", _rescale),
        Copy("re-quantized", _quantize),
        Copy("re-factored", _refactor),
        Copy("rank-padded", _pad),
        Copy("cast to e4m3", lambda lora, _: _each(lora, lambda x: x.to(torch.float8_e4m3fn)), asked=False),
        Copy("cast to e5m2", lambda lora, _: _each(lora, lambda x: x.to(torch.float8_e5m2)), asked=False),
        Copy("blocks re-scaled", _rescale_blocks, asked=False),
    )


def lay_out_copy(copy: Copy, lora: Lora, name: str) -> dict[str, Tensor]:
    """Return the tensors of a file that holds a copy: in OneTrainer's layout where it is re-saved, else diffusers'."""
    layout = ONETRAINER if copy.name == "re-saved" else ()
    return lay_out_peft(copy.change(lora, name), *layout)


def _resave(lora: Lora, _: str) -> Lora:
    """Half precision, another layout; fused modules split."""
    return _each(lora, lambda x: x.half())


def _rescale(lora: Lora, _: str) -> Lora:
    return {name: Factors(f.down, f.up, 0.37 * f.scale) for name, f in lora.items()}


def _quantize(lora: Lora, _: str) -> Lora:
    """float8_e4m3fn with the range of each tensor used, and alpha making up for it."""
    return {name: _quantize_slot(factors) for name, factors in lora.items()}


def _quantize_slot(factors: Factors) -> Factors:
    tensors, scale = [], factors.scale
    for tensor in (factors.down.float(), factors.up.float()):
        unit = float(tensor.abs().max()) / FP8_LARGEST
        tensors.append((tensor / unit).to(torch.float8_e4m3fn))
        scale *= unit
    return Factors(tensors[0], tensors[1], scale)


def _refactor(lora: Lora, drawn: str) -> Lora:
    """A → RA, B → BR⁻¹ with a random R of condition 16, rounded to bfloat16 again."""
    moved: Lora = {}
    for name, f in lora.items():
        turn = rotation(f"{drawn}|{f.rank}", f.rank)
        sizes = torch.logspace(-1, 1, f.rank, base=4.0)
        down = (sizes[:, None] * turn) @ f.down.float()
        up = f.up.float() @ (turn.T / sizes)
        moved[name] = Factors(down.bfloat16(), up.bfloat16(), f.scale)
    return moved


def _pad(lora: Lora, _: str) -> Lora:
    """Half as many ranks again, which do nothing; alpha keeps the scale."""
    padded: Lora = {}
    for name, f in lora.items():
        more = f.rank // 2
        down = torch.cat((f.down, f.down[:more].flip(1)))
        up = torch.cat((f.up, f.up.new_zeros(len(f.up), more)), dim=1)
        padded[name] = Factors(down, up, f.scale)
    return padded


def _rescale_blocks(lora: Lora, drawn: str) -> Lora:
    """Each block at its own strength, 0.5 to 1.5, as tools for block weights write."""
    draw = random(drawn)
    scaled: Lora = {}
    for _, names in groupby(lora, key=lambda name: name.split(".")[:2]):
        strength = float(draw.uniform(0.5, 1.5))
        scaled |= {n: Factors(lora[n].down, lora[n].up, strength * lora[n].scale) for n in names}
    return scaled


def _each(lora: Lora, change: Callable[[Tensor], Tensor]) -> Lora:
    return {name: Factors(change(f.down), change(f.up), f.scale) for name, f in lora.items()}
