"""A random LoRA of the text encoders of the tiny pipeline, written as several tools write it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from autolora.lora.factors import Factors, Lora

WIDTH, RANK, ALPHA = 16, 2, 3.0
CLIP, T5 = "encoder.layers.0.self_attn.q_proj", "encoder.block.0.layer.0.SelfAttention.q"
LINEARS = {"text_encoder": [CLIP, "encoder.layers.0.mlp.fc1"], "text_encoder_2": [T5]}


def random_parts(seed: int) -> dict[str, Lora]:
    """Return updates of one linear of CLIP and one of T5, with scale ALPHA / RANK."""
    generator = torch.Generator().manual_seed(seed)

    def random() -> Factors:
        down, up = (
            torch.randn(RANK, WIDTH, generator=generator),
            torch.randn(WIDTH, RANK, generator=generator),
        )
        return Factors(down=down, up=up, scale=ALPHA / RANK)

    return {"text_encoder": {CLIP: random()}, "text_encoder_2": {T5: random()}}


def kohya(parts: Mapping[str, Lora]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file of sd-scripts."""
    tensors = {}
    prefixes = {"text_encoder": "lora_te1_text_model_", "text_encoder_2": "lora_te3_"}
    for encoder, lora in parts.items():
        for name, factors in lora.items():
            path = prefixes[encoder] + name.replace(".", "_")
            tensors[f"{path}.lora_down.weight"] = factors.down
            tensors[f"{path}.lora_up.weight"] = factors.up
            tensors[f"{path}.alpha"] = torch.tensor(ALPHA)
    return tensors, {}


def diffusers(parts: Mapping[str, Lora]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file of diffusers."""
    tensors = {}
    for encoder, lora in parts.items():
        for name, factors in lora.items():
            tensors[f"{encoder}.{name}.lora_A.weight"] = factors.down
            tensors[f"{encoder}.{name}.lora_B.weight"] = factors.up
    config: dict[str, object] = {}
    for encoder, lora in parts.items():
        config |= {f"{encoder}.lora_alpha": ALPHA, f"{encoder}.r": RANK}
        config[f"{encoder}.target_modules"] = list(lora)
    return tensors, {"lora_adapter_metadata": json.dumps(config)}


def comfy(parts: Mapping[str, Lora]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a file of ComfyUI."""
    tensors, _ = diffusers(parts)
    names = {
        "text_encoder.": "text_encoders.clip_l.transformer.text_model.",
        "text_encoder_2.": "t5xxl.transformer.",
    }
    renamed = {
        names[encoder] + key.removeprefix(encoder): tensor
        for encoder in names
        for key, tensor in tensors.items()
        if key.startswith(encoder)
    }
    alphas = {
        key.replace("lora_A.weight", "alpha"): torch.tensor(ALPHA) for key in renamed if "lora_A" in key
    }
    return renamed | alphas, {}


Write = Callable[[Mapping[str, Lora]], tuple[dict[str, Tensor], dict[str, str]]]
TOOLS: tuple[Write, ...] = (kohya, diffusers, comfy)


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> Path:
    """Write a file and return its path."""
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, dict(metadata or {}))
    return path
