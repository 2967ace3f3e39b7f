"""Export: the tensors of a LoRA under the names that other tools read.

A fused module has one pair of factors for several slots. Parts that share `down`, as in training of fused layers,
share its ranks; other parts get ranks of their own: `down` is stacked and `up` is block-diagonal, which is exact for
parts of any rank. Scales are multiplied into `up`, except a common one in the layout that stores alpha.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autolora.errors import MismatchError
from autolora.lora.factors import Factors, Lora
from autolora.lora.formats import BFL_DOUBLE, BFL_SINGLE
from autolora.lora.slots import FusedSlot, Slot

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
"""in which files are exported; all tools read them"""
TINY = torch.finfo(torch.float32).tiny
BFL_STACKS = {"blocks": "double_blocks", "single_blocks": "single_blocks"}
"""stack of a fused slot -> its name in Black Forest Labs' code"""
BFL_MODULES = {fused: module for module, fused in (*BFL_DOUBLE.items(), *BFL_SINGLE.items())}
"""type of a fused slot -> name of its module in Black Forest Labs' code"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportLayout:
    """The names of the tensors of one group of tools."""

    prefix: str
    separator: str
    """between the words of a module's name"""
    is_fused: bool
    """whether q, k and v, and the MLP of single blocks, are one module, under the names of Black Forest Labs"""
    down: str
    up: str
    has_alpha: bool
    """whether each module has a tensor `alpha`, by whose ratio to the rank the update is scaled"""


LAYOUTS = {
    "diffusers": ExportLayout(
        prefix="transformer.", separator=".", is_fused=False, down="lora_A.weight", up="lora_B.weight", has_alpha=False
    ),
    "kohya": ExportLayout(
        prefix="lora_unet_", separator="_", is_fused=True, down="lora_down.weight", up="lora_up.weight", has_alpha=True
    ),
    "bfl": ExportLayout(
        prefix="diffusion_model.", separator=".", is_fused=True, down="lora_A.weight", up="lora_B.weight",
        has_alpha=False,
    ),
}  # fmt: skip
"""name of a layout -> its names; autolora.lora.formats reads them as peft, kohya and bfl-peft"""


@dataclass(frozen=True, slots=True)
class Export:
    """The tensors of an exported file."""

    tensors: dict[str, Tensor]
    dtype: str
    rounding: float
    """the largest error of a stored number, relative to the largest one of its tensor; 0 if all are exact"""


def lay_out(lora: Lora, fused: Sequence[FusedSlot], layout: ExportLayout, dtype: str | None = None) -> Export:
    """Return a LoRA's tensors in a layout.

    fused: the fused slots of the base model. dtype: of DTYPES; None is the first of those in which the LoRA is stored
    that represents all numbers exactly, else float32.
    Raises MismatchError if a number is too large for the dtype, or the LoRA has slots of another base model.
    """
    parts = {part.name for slot in fused for part in slot.parts}
    if unknown := lora.keys() - parts:
        raise MismatchError(f"the LoRA has slots that the base model does not have, e.g. {min(unknown)}")
    roundings = {
        name: _rounding(_tensors(lora, fused, layout), DTYPES[name])
        for name in ([dtype] if dtype else _stored_dtypes(lora))
    }
    chosen = dtype or next((name for name, rounding in roundings.items() if rounding == 0), "float32")
    rounding = roundings.get(chosen, 0.0)
    if not math.isfinite(rounding):
        raise MismatchError(
            f"the LoRA has numbers that are too large for {chosen}: choose bfloat16 or float32"
        )
    tensors = {
        # a copy: the parts of a fused layer share `down`, and a file of tensors that share memory cannot be written
        key: tensor if tensor.dim() == 0 else tensor.to(DTYPES[chosen], copy=True).contiguous()
        for key, tensor in _tensors(lora, fused, layout)
    }
    return Export(tensors, chosen, rounding)


def join(lora: Mapping[str, Factors], slot: FusedSlot, present: Sequence[Slot]) -> Factors:
    """Return the exact update of a fused slot in float32 from those of its parts, with their scale if it is common.

    present: the parts that have an update; the rows of the others are zero.
    """
    scales = {lora[part.name].scale for part in present}
    scale = scales.pop() if len(scales) == 1 else 1.0
    downs: list[Tensor] = []
    blocks: list[tuple[Slot, int]] = []
    for part in present:
        down = lora[part.name].down
        position = next((i for i, other in enumerate(downs) if _is_equal(other, down)), len(downs))
        downs += [down] if position == len(downs) else []
        blocks.append((part, sum(len(other) for other in downs[:position])))
    up = torch.zeros(slot.d_out, sum(map(len, downs)))
    for part, column in blocks:
        factors = lora[part.name]
        block = up[part.row : part.row + part.d_out, column : column + factors.rank]
        block.copy_(factors.up.float() * (factors.scale / scale))
    return Factors(torch.cat([down.float() for down in downs]), up, scale)


def _is_equal(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a.float(), b.float()))


def _tensors(lora: Lora, fused: Sequence[FusedSlot], layout: ExportLayout) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors in float32, one module at a time."""
    for name, factors in _modules(lora, fused, layout):
        module = layout.prefix + name.replace(".", layout.separator)
        yield f"{module}.{layout.down}", factors.down.float()
        if layout.has_alpha:
            yield f"{module}.{layout.up}", factors.up.float()
            yield f"{module}.alpha", torch.tensor(factors.scale * factors.rank)
        else:
            yield f"{module}.{layout.up}", factors.up.float() * factors.scale


def _modules(lora: Lora, fused: Sequence[FusedSlot], layout: ExportLayout) -> Iterator[tuple[str, Factors]]:
    """Yield the modules of a file with their names without prefix."""
    for slot in fused:
        present = [part for part in slot.parts if part.name in lora]
        if not layout.is_fused:
            yield from ((part.name, lora[part.name]) for part in present)
        elif present:
            stack, block, _ = slot.name.split(".", 2)
            yield f"{BFL_STACKS[stack]}.{block}.{BFL_MODULES[slot.type]}", join(lora, slot, present)


def _stored_dtypes(lora: Lora) -> list[str]:
    """Return the dtypes of DTYPES below float32 that the LoRA's factors have; bfloat16 contains the 8-bit floats."""
    stored = {tensor.dtype for factors in lora.values() for tensor in (factors.down, factors.up)}
    names = {"bfloat16" if dtype.itemsize == 1 else str(dtype).removeprefix("torch.") for dtype in stored}
    return [name for name in DTYPES if name in names and name != "float32"]


def _rounding(tensors: Iterator[tuple[str, Tensor]], dtype: torch.dtype) -> float:
    """Return the largest error of a number in a dtype, relative to the largest of its tensor; inf if one overflows."""
    largest = 0.0
    for _, tensor in tensors:
        if tensor.dim():
            error = float((tensor.to(dtype).float() - tensor).abs().max())
            largest = max(largest, error / max(float(tensor.abs().max()), TINY))
            if not math.isfinite(error):
                return math.inf
    return largest
