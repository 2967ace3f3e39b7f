"""Files that must be accepted: a LoRA in the layouts that tools write, and the same LoRA in another form."""

import random
from collections.abc import Callable

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from tests.lora.writing import DOWN_UP, KeyFormat, kohya, lay_out, peft

Tensors = dict[str, Tensor]
LAYOUTS: dict[str, Callable[[Lora], Tensors]] = {
    "peft": peft,
    "peft-bare": lambda lora: peft(lora, ""),
    "peft-model": lambda lora: peft(lora, "base_model.model."),
    "peft-down": lambda lora: peft(lora, names=("lora_down", "lora_up")),
    "onetrainer": lambda lora: peft(lora, "lora_transformer_", ("lora_down", "lora_up"), "_"),
    "old-diffusers": lambda lora: peft(lora, names=("lora.down", "lora.up")),
    "kohya": kohya,
    "kohya-diffusers": lambda lora: lay_out(
        lora, KeyFormat("lora_unet_", "diffusers", "_", DOWN_UP, alpha=True)
    ),
    "lycoris": lambda lora: lay_out(lora, KeyFormat("lycoris_", "diffusers", "_", DOWN_UP, alpha=True)),
    "comfy": lambda lora: lay_out(lora, KeyFormat("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True)),
    "bfl-peft": lambda lora: lay_out(lora, KeyFormat("diffusion_model.", "bfl", alpha=True)),
    "onetrainer-bfl": lambda lora: lay_out(
        lora, KeyFormat("transformer.", "numbered", ".", DOWN_UP, alpha=True)
    ),
    "native": lambda lora: lay_out(lora, KeyFormat("", "native", alpha=True)),
    "peft with fused q, k and v": lambda lora: lay_out(
        lora, KeyFormat("transformer.", "diffusers-qkv", alpha=True)
    ),
}
MAX_FP8 = {torch.float8_e4m3fn: 448.0, torch.float8_e5m2: 57344.0}

Change = Callable[[random.Random, Factors], Factors]


def _cast(*dtypes: torch.dtype) -> Change:
    def change(rng: random.Random, f: Factors) -> Factors:
        return Factors(f.down.to(rng.choice(dtypes)), f.up.to(rng.choice(dtypes)), f.scale)

    return change


def _quantize(rng: random.Random, f: Factors) -> Factors:
    """Scale each tensor to the full range of fp8 and compensate with alpha."""
    dtype, scale, quantized = rng.choice(list(MAX_FP8)), f.scale, []
    for tensor in (f.down, f.up):
        unit = float(tensor.abs().max()) / MAX_FP8[dtype]
        quantized.append((tensor / unit).to(dtype))
        scale *= unit
    return Factors(quantized[0], quantized[1], scale)


def _refactor(rng: random.Random, f: Factors) -> Factors:
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    rotation = torch.linalg.qr(torch.randn(f.rank, f.rank, generator=generator)).Q
    gauge = rotation * torch.linspace(0.5, 4, f.rank)
    return Factors(gauge @ f.down, f.up @ torch.linalg.inv(gauge), f.scale)


def _pad(rng: random.Random, f: Factors) -> Factors:
    """Add ranks without effect: ranks with a zero factor, or pairs that cancel."""
    extra = rng.randint(1, 3)
    rows = torch.full((extra, f.down.shape[1]), 0.5)
    if rng.random() < 0.5:
        return Factors(
            torch.cat((f.down, rows)), torch.cat((f.up, torch.zeros(len(f.up), extra)), 1), f.scale
        )
    columns = torch.full((len(f.up), extra), 0.5)
    return Factors(torch.cat((f.down, rows, rows)), torch.cat((f.up, columns, -columns), 1), f.scale)


def _move_scale(rng: random.Random, f: Factors) -> Factors:
    """Move a part of the scale into the factors."""
    part = rng.choice((-2.0, 0.125, 3.0))
    return Factors(f.down * part, f.up, f.scale / part)


def _rescale(rng: random.Random, f: Factors) -> Factors:
    return Factors(f.down, f.up, 0.37 * f.scale)


def _identity(rng: random.Random, f: Factors) -> Factors:
    return f


COPIES: dict[str, Change] = {
    "re-saved": _identity,
    "re-saved in half precision": _cast(torch.float16, torch.bfloat16),
    "re-saved in double precision": _cast(torch.float64),
    "cast to fp8": _cast(torch.float8_e4m3fn, torch.float8_e5m2),
    "re-quantized to fp8": _quantize,
    "re-factored": _refactor,
    "rank-padded": _pad,
    "moved scale": _move_scale,
    "re-scaled": _rescale,
}
"""kind -> change of each slot's factors; the direction of the update is preserved up to rounding"""


def _alphas(change: Callable[[Tensor], Tensor]) -> Callable[[random.Random, Tensors], Tensors]:
    return lambda rng, tensors: {
        key: change(tensor) if key.endswith(".alpha") else tensor for key, tensor in tensors.items()
    }


def _add_text_encoder(rng: random.Random, tensors: Tensors) -> Tensors:
    module = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    return tensors | {
        f"{module}.lora_down.weight": torch.ones(2, 8),
        f"{module}.lora_up.weight": torch.ones(8, 2),
        f"{module}.alpha": torch.tensor(2.0),
    }


def _shuffle(rng: random.Random, tensors: Tensors) -> Tensors:
    return dict(rng.sample(sorted(tensors.items()), len(tensors)))


STORAGE_VARIANTS: dict[str, Callable[[random.Random, Tensors], Tensors]] = {
    "alpha of shape (1,)": _alphas(lambda alpha: alpha.reshape(1)),
    "alpha in double precision": _alphas(lambda alpha: alpha.double()),
    "additional text encoder": _add_text_encoder,
    "shuffled keys": _shuffle,
}
"""kind -> a different way to store the same tensors"""
