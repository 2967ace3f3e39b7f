"""LoRA files for tests: random updates of a tiny FLUX, written in the layouts that tools write."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from autolora.lora.factors import Factors, Lora, fuse
from autolora.params import PoolParams
from autolora.slots import fused_slots, slots

CONFIG = {"num_layers": 2, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 8}
SLOTS = slots(CONFIG)
FUSED = fused_slots(CONFIG)
BOUNDS = PoolParams(
    max_header_mb=1, max_rank=16, min_known_keys=1.0, max_image_mb=1, max_image_px=1, sketch_size=32
)

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


def write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> Path:
    """Save tensors as a safetensors file and return its path."""
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path


def peft(
    lora: Lora,
    prefix: str = "transformer.",
    names: tuple[str, str] = ("lora_A", "lora_B"),
    separator: str = ".",
) -> dict[str, Tensor]:
    """Return a LoRA's tensors under diffusers' names, with alpha as one more tensor."""
    tensors = {}
    for name, factors in lora.items():
        module = prefix + name.replace(".", separator)
        tensors[f"{module}.{names[0]}.weight"] = factors.down
        tensors[f"{module}.{names[1]}.weight"] = factors.up
        tensors[f"{module}.alpha"] = torch.tensor(factors.scale * factors.rank)
    return tensors


def kohya(lora: Lora) -> dict[str, Tensor]:
    """Return a LoRA's tensors in kohya's layout, exactly: fused block-diagonally, alpha a module."""
    tensors = {}
    for slot in FUSED:
        factors = fuse(lora, slot)
        if factors is None:
            continue
        stack, block, rest = slot.name.split(".", 2)
        module = f"lora_unet_{'double_blocks' if stack == 'blocks' else stack}_{block}_{KOHYA[rest]}"
        tensors[f"{module}.lora_down.weight"] = factors.down
        tensors[f"{module}.lora_up.weight"] = factors.up / 2
        tensors[f"{module}.alpha"] = torch.tensor(2.0 * factors.rank)
    return tensors
