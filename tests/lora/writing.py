"""LoRA files for tests: random updates of FLUX models, written in the layouts that tools write."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from autolora.lora.factors import Factors, Lora, fuse
from autolora.params import PoolParams
from autolora.slots import FusedSlot, fused_slots, slots

CONFIG = {"num_layers": 2, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8}
SLOTS = slots(CONFIG)
FUSED = fused_slots(CONFIG)
BOUNDS = PoolParams(
    max_header_mb=1, max_rank=16, min_known_keys=1.0, max_image_mb=1, max_image_px=1, sketch_size=32,
    near_duplicate_cosine=0.99,
)  # fmt: skip
WIDE = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 24, "attention_head_dim": 128}
"""one block of each stack of FLUX.1-dev, in its real sizes"""

Tensors = dict[str, Tensor]
PEFT = ("lora_A.weight", "lora_B.weight")
DOWN_UP = ("lora_down.weight", "lora_up.weight")

KOHYA = {
    "attn.a_to_qkv": "img_attn_qkv",
    "attn.a_to_out": "img_attn_proj",
    "ff_a.0": "img_mlp_0",
    "ff_a.2": "img_mlp_2",
    "norm1_a.linear": "img_mod_lin",
    "attn.b_to_qkv": "txt_attn_qkv",
    "attn.b_to_out": "txt_attn_proj",
    "ff_b.0": "txt_mlp_0",
    "ff_b.2": "txt_mlp_2",
    "norm1_b.linear": "txt_mod_lin",
    "to_qkv_mlp": "linear1",
    "proj_out": "linear2",
    "norm.linear": "modulation_lin",
}
BFL = {
    "attn.a_to_qkv": "img_attn.qkv",
    "attn.a_to_out": "img_attn.proj",
    "ff_a.0": "img_mlp.0",
    "ff_a.2": "img_mlp.2",
    "norm1_a.linear": "img_mod.lin",
    "attn.b_to_qkv": "txt_attn.qkv",
    "attn.b_to_out": "txt_attn.proj",
    "ff_b.0": "txt_mlp.0",
    "ff_b.2": "txt_mlp.2",
    "norm1_b.linear": "txt_mod.lin",
    "to_qkv_mlp": "linear1",
    "proj_out": "linear2",
    "norm.linear": "modulation.lin",
}
XLABS = {
    "attn.a_to_qkv": "processor.qkv_lora1",
    "attn.a_to_out": "processor.proj_lora1",
    "attn.b_to_qkv": "processor.qkv_lora2",
    "attn.b_to_out": "processor.proj_lora2",
    "to_qkv_mlp": "processor.qkv_lora",
    "proj_out": "processor.proj_lora",
}


@dataclass(frozen=True, slots=True)
class Form:
    """How a tool writes a LoRA: the prefix, names, separator and suffixes of its keys."""

    prefix: str
    names: str
    """diffusers, or one that fuses: bfl, native, xlabs, diffusers-qkv; cut: bfl's names with numbered parts"""
    separator: str = "."
    suffixes: tuple[str, str] = PEFT
    alpha: bool = False
    """whether alpha is a tensor beside each module; else the scale is folded into `up`"""


def draw_lora(seed: int = 0, ranks: tuple[int, ...] = (1, 2, 4)) -> Lora:
    """Draw an update of every slot; ranks and scales (0.5, 1, 1.5) cycle over the slots."""
    generator = torch.Generator().manual_seed(seed)
    lora: Lora = {}
    for index, slot in enumerate(SLOTS):
        rank = ranks[index % len(ranks)]
        down = torch.randn(rank, slot.d_in, generator=generator)
        up = torch.randn(slot.d_out, rank, generator=generator)
        lora[slot.name] = Factors(down, up, 0.5 + index % 3 / 2)
    return lora


def draw_fused(
    fused: Sequence[FusedSlot], ranks: Sequence[int] = (1, 2, 3, 4), scales: Sequence[float] = (0.5, 1.0, 1.5)
) -> Lora:
    """Draw an update of every slot whose fused slot's parts share their `down`, as fused training gives it.

    Entries are eighths from -1 to 1: every floating-point type that files use holds them exactly.
    """
    generator = torch.Generator().manual_seed(7)
    lora: Lora = {}
    for index, slot in enumerate(fused):
        rank, scale = ranks[index % len(ranks)], scales[index % len(scales)]
        down, up = (
            torch.randint(-8, 9, shape, generator=generator) / 8
            for shape in ((rank, slot.d_in), (slot.d_out, rank))
        )
        parts = up.split([part.d_out for part in slot.parts])
        lora |= {part.name: Factors(down, rows, scale) for part, rows in zip(slot.parts, parts, strict=True)}
    return lora


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Save tensors as a safetensors file and return its path."""
    save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path


def lay_out(lora: Lora, form: Form, fused: Sequence[FusedSlot] = FUSED) -> Tensors:
    """Return a LoRA's tensors as a tool writes them; what its form cannot hold is left out."""
    tensors: Tensors = {}
    for name, factors in name_modules(lora, form.names, fused):
        module = form.prefix + name.replace(".", form.separator)
        tensors[f"{module}.{form.suffixes[0]}"] = factors.down
        tensors[f"{module}.{form.suffixes[1]}"] = factors.up if form.alpha else factors.scale * factors.up
        if form.alpha:
            tensors[f"{module}.alpha"] = torch.tensor(factors.scale * factors.rank)
    return tensors


def name_modules(lora: Lora, names: str, fused: Sequence[FusedSlot] = FUSED) -> Iterator[tuple[str, Factors]]:
    """Yield the modules of a LoRA by their names without prefix, fused where the names fuse."""
    if names == "diffusers":
        yield from lora.items()
        return
    for slot in fused:
        if names == "cut":
            yield from _cut(lora, slot)
        elif names == "diffusers-qkv":
            yield from _fuse_qkv(lora, slot)
        elif names == "xlabs" and slot.type in XLABS:
            kept = {part.name: lora[part.name] for part in slot.parts if not part.name.endswith("proj_mlp")}
            yield (
                rename(slot, XLABS),
                _join(kept, slot, [part.d_out for part in slot.parts if part.name in kept]),
            )
        elif names != "xlabs" and any(part.name in lora for part in slot.parts):
            rows = [part.d_out for part in slot.parts]
            yield slot.name if names == "native" else rename(slot, BFL), _join(lora, slot, rows)


def rename(slot: FusedSlot, names: Mapping[str, str]) -> str:
    """Return a fused slot's name in a family of tools that says double_blocks, from a table of its modules."""
    stack, block, rest = slot.name.split(".", 2)
    return f"{'double_blocks' if stack == 'blocks' else stack}.{block}.{names[rest]}"


def peft(
    lora: Lora,
    prefix: str = "transformer.",
    names: tuple[str, str] = ("lora_A", "lora_B"),
    separator: str = ".",
) -> Tensors:
    """Return a LoRA's tensors under diffusers' names, with alpha as one more tensor."""
    suffixes = (f"{names[0]}.weight", f"{names[1]}.weight")
    return lay_out(lora, Form(prefix, "diffusers", separator, suffixes, alpha=True))


def kohya(lora: Lora) -> Tensors:
    """Return a LoRA's tensors in kohya's layout, exactly: fused block-diagonally, alpha a module."""
    tensors = {}
    for slot in FUSED:
        factors = fuse(lora, slot)
        if factors is None:
            continue
        module = f"lora_unet_{rename(slot, KOHYA).replace('.', '_')}"
        tensors[f"{module}.lora_down.weight"] = factors.down
        tensors[f"{module}.lora_up.weight"] = factors.up / 2
        tensors[f"{module}.alpha"] = torch.tensor(2.0 * factors.rank)
    return tensors


def _cut(lora: Lora, slot: FusedSlot) -> Iterator[tuple[str, Factors]]:
    for row, part in enumerate(slot.parts):
        if part.name in lora:
            yield rename(slot, BFL) + (f".{row}" if len(slot.parts) > 1 else ""), lora[part.name]


def _fuse_qkv(lora: Lora, slot: FusedSlot) -> Iterator[tuple[str, Factors]]:
    """Yield q, k and v as the one module that diffusers' `fuse_qkv_projections` makes of them, the rest as it is."""
    three = [part for part in slot.parts if part.name in lora and re.search(r"\.(to|add)_[qkv]", part.name)]
    if len(three) == 3:
        rows = [part.d_out for part in three]
        joined = _join({part.name: lora[part.name] for part in three}, slot, rows)
        module = "to_added_qkv" if "add_q" in three[0].name else "to_qkv"
        own = Factors(joined.down, joined.up[: sum(rows)], joined.scale)  # without a single block's mlp rows
        yield f"{three[0].name.rpartition('.')[0]}.{module}", own
    yield from (
        (p.name, lora[p.name]) for p in slot.parts if p.name in lora and (len(three) < 3 or p not in three)
    )


def _join(lora: Lora, slot: FusedSlot, rows: Sequence[int]) -> Factors:
    """Fuse the parts of a slot: those that share `down` side by side, others block-diagonally."""
    parts = [lora[part.name] for part in slot.parts if part.name in lora]
    if sum(len(part.up) for part in parts) == sum(rows) and all(part.down is parts[0].down for part in parts):
        return Factors(parts[0].down, torch.cat([part.up for part in parts]), parts[0].scale)
    factors = fuse(lora, slot)
    assert factors is not None
    return factors
