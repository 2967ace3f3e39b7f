"""The file layouts of the pool's LoRAs, as common trainers write them.

A LoRA in memory is {module name: (A (r, in), B (out, r))} with effect B @ A.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]

_DOUBLE: dict[str, tuple[str, ...]] = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn.proj": ("attn.to_out.0",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn.proj": ("attn.to_add_out",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "txt_mod.lin": ("norm1_context.linear",),
}
_SINGLE: dict[str, tuple[str, ...]] = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
_STACKS = {
    "transformer_blocks": ("double_blocks", _DOUBLE),
    "single_transformer_blocks": ("single_blocks", _SINGLE),
}


def factors(state: dict[str, torch.Tensor]) -> Factors:
    """Return the pairs of lora_A and lora_B in PEFT's adapter state, in float32."""
    names = [k.removesuffix(".lora_A.weight") for k in state if k.endswith(".lora_A.weight")]
    return {n: (state[f"{n}.lora_A.weight"].float(), state[f"{n}.lora_B.weight"].float()) for n in names}


@dataclass(frozen=True)
class Layout:
    """Names of a LoRA's tensors in one trainer's files."""

    name: str
    prefix: str
    fused: bool
    """whether modules are named as by Black Forest Labs, with q, k and v fused; otherwise as in diffusers"""
    separator: str
    down: str
    up: str
    alpha: bool
    """whether the file has an alpha per module, which then differs from the rank"""

    @property
    def unfused(self) -> str:
        """Name of the layout with the same suffixes but without fused modules."""
        return {"kohya": "onetrainer", "comfy": "peft-down", "bfl-peft": "peft"}.get(self.name, self.name)


_PEFT = (".lora_A.weight", ".lora_B.weight", False)
_KOHYA = (".lora_down.weight", ".lora_up.weight", True)
LAYOUTS = (
    Layout("peft", "transformer.", False, ".", *_PEFT),
    Layout("kohya", "lora_unet_", True, "_", *_KOHYA),
    Layout("peft", "transformer.", False, ".", *_PEFT),
    Layout("kohya", "lora_unet_", True, "_", *_KOHYA),
    Layout("peft-bare", "", False, ".", *_PEFT),
    Layout("onetrainer", "lora_transformer_", False, "_", *_KOHYA),
    Layout("bfl-peft", "diffusion_model.", True, ".", *_PEFT),
    Layout("peft-model", "base_model.model.", False, ".", *_PEFT),
    Layout("comfy", "diffusion_model.", True, ".", *_KOHYA),
    Layout("peft-down", "transformer.", False, ".", *_KOHYA),
)
"""recipes cycle through this list; the most common layouts are in it twice"""


def resize(lora: Factors, kept_energy: float) -> Factors:
    """Truncate each module's singular values to the lowest rank that keeps a share of its update's energy."""
    return {name: _resize(down.double(), up.double(), kept_energy) for name, (down, up) in lora.items()}


def _resize(down: torch.Tensor, up: torch.Tensor, kept_energy: float) -> tuple[torch.Tensor, torch.Tensor]:
    q_up, r_up = torch.linalg.qr(up)
    q_down, r_down = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(r_up @ r_down.T)
    energy = values.square().cumsum(0) / values.square().sum()
    rank = int((energy < kept_energy).sum()) + 1
    root = values[:rank].sqrt()
    return (root[:, None] * (q_down @ v[:rank].T).T).float(), (q_up @ u[:, :rank] * root).float()


def to_tensors(lora: Factors, layout_name: str, widths: dict[str, int], seed: int) -> dict[str, torch.Tensor]:
    """Return the factors as a layout's tensors, in bf16.

    widths: module name -> output width of every linear layer; a missing part of a fused module becomes a block of
    zero rows. If the layout has alphas, they are random, and the up factor compensates for them.
    """
    layout = next(layout for layout in LAYOUTS if layout.name == layout_name)
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for path, (down, up) in (_fused(lora, widths) if layout.fused else lora).items():
        key = layout.prefix + path.replace(".", layout.separator)
        scale = (0.25, 0.5, 2.0)[int(torch.randint(3, (1,), generator=generator))] if layout.alpha else 1.0
        tensors[key + layout.down] = down.to(torch.bfloat16).contiguous()
        tensors[key + layout.up] = (up / scale).to(torch.bfloat16).contiguous()
        if layout.alpha:
            tensors[key + ".alpha"] = torch.tensor(scale * len(down))
    return tensors


def _fused(lora: Factors, widths: dict[str, int]) -> Factors:
    """Return the factors under the module names of Black Forest Labs, fusing the modules that are one there."""
    fused: Factors = {}
    blocks = {m[0]: m for name in lora if (m := re.match(r"(\w+)\.(\d+)\.", name))}
    for prefix, match in blocks.items():
        stack, modules = _STACKS[match[1]]
        for module, parts in modules.items():
            names = [prefix + part for part in parts]
            if any(name in lora for name in names):
                path = f"{stack}.{match[2]}.{module}"
                fused[path] = _fuse([lora.get(n) for n in names], [widths[n] for n in names])
    return fused


def _fuse(
    parts: list[tuple[torch.Tensor, torch.Tensor] | None], widths: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the stacked A's and the block-diagonal B of parts; a missing part becomes a zero block."""
    down = torch.cat([part[0] for part in parts if part is not None])
    up = torch.zeros(sum(widths), len(down))
    row = column = 0
    for part, width in zip(parts, widths, strict=True):
        if part is not None:
            rank = part[1].shape[1]
            up[row : row + width, column : column + rank] = part[1]
            column += rank
        row += width
    return down, up


def metadata(layout_name: str, training: dict[str, str]) -> dict[str, str]:
    """Return the header's metadata of a layout; `training` is the metadata about the training."""
    if layout_name != "kohya":
        return {"format": "pt"}
    return {
        "format": "pt",
        "ss_network_module": "networks.lora_flux",
        "ss_base_model_version": "flux1",
        "ss_model_prediction_type": "raw",
        "ss_guidance_scale": "3.5",
        "ss_timestep_sampling": "shift",
        "modelspec.architecture": "flux-1-dev/lora",
        **training,
    }
