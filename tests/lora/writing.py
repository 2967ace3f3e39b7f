"""LoRA files for tests: random updates of FLUX models, written in the layouts of real tools."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from autolora.lora.factors import Factors, Lora, fuse
from autolora.lora.slots import FusedSlot, fused_slots, slots
from autolora.params import PoolParams

CONFIG = {"num_layers": 2, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8}
SLOTS = slots(CONFIG)
FUSED = fused_slots(CONFIG)
BOUNDS = PoolParams(
    max_header_mb=1, max_rank=16, min_known_keys=1.0, max_image_mb=1, max_image_px=1, sketch_size=32,
    near_duplicate_cosine=0.99,
)  # fmt: skip
WIDE = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 24, "attention_head_dim": 128}
"""one block of each stack of FLUX.1-dev, with its real sizes"""

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
class KeyFormat:
    """The keys that a tool writes: their prefix, module names, separator and suffixes."""

    prefix: str
    names: str
    """diffusers, or names of fused modules: bfl, native, xlabs, diffusers-qkv; numbered: bfl with numbered parts"""
    separator: str = "."
    suffixes: tuple[str, str] = PEFT
    alpha: bool = False
    """whether each module has an alpha tensor; otherwise `up` contains the scale"""


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
    """Draw an update of every slot; the parts of a fused slot share `down`, as in training of fused layers.

    Entries are multiples of 1/8 from -1 to 1: every floating-point type of LoRA files represents them exactly.
    """
    generator = torch.Generator().manual_seed(7)
    lora: Lora = {}
    for index, slot in enumerate(fused):
        rank, scale = ranks[index % len(ranks)], scales[index % len(scales)]
        down, up = (
            torch.randint(-8, 9, shape, generator=generator) / 8
            for shape in ((rank, slot.d_in), (slot.d_out, rank))
        )
        parts = torch.split(up, [part.d_out for part in slot.parts])
        lora |= {part.name: Factors(down, rows, scale) for part, rows in zip(slot.parts, parts, strict=True)}
    return lora


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Save tensors as a safetensors file and return its path."""
    save_file({key: tensor.clone().contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path


def write_overflowing(source: Path, target: Path) -> Path:
    """Write a copy of a LoRA file in float64 whose weights are so large that their squares overflow."""
    tensors = {key: tensor.double() for key, tensor in load_file(source).items()}
    large = {key: 1e300 * tensor for key, tensor in tensors.items() if "lora_B" in key or "lora_up" in key}
    return write(target, tensors | large)


def lay_out(lora: Lora, key_format: KeyFormat, fused: Sequence[FusedSlot] = FUSED) -> Tensors:
    """Return a LoRA's tensors as a tool writes them, without modules that the tool cannot write."""
    tensors: Tensors = {}
    for name, factors in name_modules(lora, key_format.names, fused):
        module = key_format.prefix + name.replace(".", key_format.separator)
        down_suffix, up_suffix = key_format.suffixes
        tensors[f"{module}.{down_suffix}"] = factors.down
        tensors[f"{module}.{up_suffix}"] = factors.up if key_format.alpha else factors.scale * factors.up
        if key_format.alpha:
            tensors[f"{module}.alpha"] = torch.tensor(factors.scale * factors.rank)
    return tensors


def name_modules(lora: Lora, names: str, fused: Sequence[FusedSlot] = FUSED) -> Iterator[tuple[str, Factors]]:
    """Yield the modules of a LoRA with their names without prefix; modules are fused according to `names`."""
    if names == "diffusers":
        yield from lora.items()
        return
    for slot in fused:
        if names == "numbered":
            yield from _numbered_parts(lora, slot)
        elif names == "diffusers-qkv":
            yield from _fuse_qkv(lora, slot)
        elif names == "xlabs" and slot.type in XLABS:
            parts = {part.name: lora[part.name] for part in slot.parts if not part.name.endswith("proj_mlp")}
            yield (
                rename(slot, XLABS),
                _join(parts, slot, [part.d_out for part in slot.parts if part.name in parts]),
            )
        elif names != "xlabs" and any(part.name in lora for part in slot.parts):
            rows = [part.d_out for part in slot.parts]
            yield slot.name if names == "native" else rename(slot, BFL), _join(lora, slot, rows)


def rename(slot: FusedSlot, names: Mapping[str, str]) -> str:
    """Return a fused slot's name in tools that use double_blocks; names: fused suffix -> module name."""
    stack, block, rest = slot.name.split(".", 2)
    return f"{'double_blocks' if stack == 'blocks' else stack}.{block}.{names[rest]}"


def peft(
    lora: Lora,
    prefix: str = "transformer.",
    names: tuple[str, str] = ("lora_A", "lora_B"),
    separator: str = ".",
) -> Tensors:
    """Return a LoRA's tensors under diffusers' names, with an alpha tensor per module."""
    suffixes = (f"{names[0]}.weight", f"{names[1]}.weight")
    return lay_out(lora, KeyFormat(prefix, "diffusers", separator, suffixes, alpha=True))


def kohya(lora: Lora) -> Tensors:
    """Return a LoRA's tensors in kohya's layout, exactly: fused block-diagonally, with an alpha tensor per module."""
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


def _numbered_parts(lora: Lora, slot: FusedSlot) -> Iterator[tuple[str, Factors]]:
    for row, part in enumerate(slot.parts):
        if part.name in lora:
            yield rename(slot, BFL) + (f".{row}" if len(slot.parts) > 1 else ""), lora[part.name]


def _fuse_qkv(lora: Lora, slot: FusedSlot) -> Iterator[tuple[str, Factors]]:
    """Yield q, k and v as one module like diffusers' `fuse_qkv_projections`, and the other parts unchanged."""
    qkv = [part for part in slot.parts if part.name in lora and re.search(r"\.(to|add)_[qkv]", part.name)]
    if len(qkv) == 3:
        rows = [part.d_out for part in qkv]
        joined = _join({part.name: lora[part.name] for part in qkv}, slot, rows)
        module = "to_added_qkv" if "add_q" in qkv[0].name else "to_qkv"
        without_mlp = Factors(
            joined.down, joined.up[: sum(rows)], joined.scale
        )  # single blocks also have MLP rows
        yield f"{qkv[0].name.rpartition('.')[0]}.{module}", without_mlp
    yield from (
        (p.name, lora[p.name]) for p in slot.parts if p.name in lora and (len(qkv) < 3 or p not in qkv)
    )


def _join(lora: Lora, slot: FusedSlot, rows: Sequence[int]) -> Factors:
    """Return the fused parts of a slot: stacked if they share `down`, otherwise block-diagonal."""
    parts = [lora[part.name] for part in slot.parts if part.name in lora]
    if sum(len(part.up) for part in parts) == sum(rows) and all(part.down is parts[0].down for part in parts):
        return Factors(parts[0].down, torch.cat([part.up for part in parts]), parts[0].scale)
    factors = fuse(lora, slot)
    assert factors is not None
    return factors
