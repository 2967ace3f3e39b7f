"""Two layouts in which a LoRA of the tiny FLUX is stored: diffusers (PEFT) and kohya.

A LoRA in memory is {module name: (A (r, in), B (out, r))} with effect B @ A.
"""

from __future__ import annotations

import re

import torch

Factors = dict[str, tuple[torch.Tensor, torch.Tensor]]

_DOUBLE: dict[str, tuple[str, ...]] = {
    "img_attn_qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "img_attn_proj": ("attn.to_out.0",),
    "img_mlp_0": ("ff.net.0.proj",),
    "img_mlp_2": ("ff.net.2",),
    "img_mod_lin": ("norm1.linear",),
    "txt_attn_qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "txt_attn_proj": ("attn.to_add_out",),
    "txt_mlp_0": ("ff_context.net.0.proj",),
    "txt_mlp_2": ("ff_context.net.2",),
    "txt_mod_lin": ("norm1_context.linear",),
}
_SINGLE: dict[str, tuple[str, ...]] = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation_lin": ("norm.linear",),
}
_STACKS = {
    "transformer_blocks": ("double_blocks", _DOUBLE),
    "single_transformer_blocks": ("single_blocks", _SINGLE),
}


def factors(state: dict[str, torch.Tensor]) -> Factors:
    """Pair the lora_A and lora_B of PEFT's adapter state, in float32."""
    names = [k.removesuffix(".lora_A.weight") for k in state if k.endswith(".lora_A.weight")]
    return {n: (state[f"{n}.lora_A.weight"].float(), state[f"{n}.lora_B.weight"].float()) for n in names}


def diffusers_state(lora: Factors) -> dict[str, torch.Tensor]:
    """Name the factors as diffusers stores them, in bf16; alpha equals rank and is unwritten."""
    state = {}
    for name, (down, up) in lora.items():
        state[f"transformer.{name}.lora_A.weight"] = down.to(torch.bfloat16).contiguous()
        state[f"transformer.{name}.lora_B.weight"] = up.to(torch.bfloat16).contiguous()
    return state


def kohya_state(lora: Factors, widths: dict[str, int], seed: int) -> dict[str, torch.Tensor]:
    """Fuse and name the factors as sd-scripts stores them, in bf16, with an alpha a module.

    `widths` gives the output width of every linear, so that a part the LoRA lacks becomes
    a block of zero rows.  Alpha differs from the rank; the up factor makes up for it.
    """
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    blocks = {m[0]: m for name in lora if (m := re.match(r"(\w+)\.(\d+)\.", name))}
    for prefix, match in blocks.items():
        stack, modules = _STACKS[match[1]]
        for module, parts in modules.items():
            names = [prefix + part for part in parts]
            if not any(name in lora for name in names):
                continue
            down, up = _fuse([lora.get(n) for n in names], [widths[n] for n in names])
            rank = len(down)
            share = (0.25, 0.5, 2.0)[int(torch.randint(3, (1,), generator=generator))]
            key = f"lora_unet_{stack}_{match[2]}_{module}"
            state[f"{key}.lora_down.weight"] = down.to(torch.bfloat16).contiguous()
            state[f"{key}.lora_up.weight"] = (up / share).to(torch.bfloat16).contiguous()
            state[f"{key}.alpha"] = torch.tensor(share * rank)
    return state


def _fuse(
    parts: list[tuple[torch.Tensor, torch.Tensor] | None], widths: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack the A's and set the B's block-diagonally; a missing part is a zero block."""
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


def kohya_header(
    name: str, trigger: str, rank: int, alpha: float, steps: int, drawings: int, rate: float
) -> dict[str, str]:
    """Write the metadata that sd-scripts writes; all values are strings."""
    return {
        "format": "pt",
        "ss_network_module": "networks.lora_flux",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_base_model_version": "flux1",
        "ss_model_prediction_type": "raw",
        "ss_guidance_scale": "3.5",
        "ss_timestep_sampling": "shift",
        "ss_output_name": name,
        "ss_steps": str(steps),
        "ss_learning_rate": str(rate),
        "ss_num_train_images": str(drawings),
        "ss_resolution": "(64, 64)",
        "ss_tag_frequency": f'{{"10_{trigger}": {{"{trigger}": {drawings}}}}}',
        "modelspec.architecture": "flux-1-dev/lora",
        "modelspec.trigger_phrase": trigger,
        "modelspec.title": name,
    }
