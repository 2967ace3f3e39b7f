"""LoRAs in every layout, as the tools that write them name and store the tensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from autolora.lora.factors import Lora
from tests.lora.tensor_changes import (
    alphas,
    as_convolutions,
    cast,
    config_of,
    rank_stabilized,
    with_keys,
    with_modules,
)
from tests.lora.writing import DOWN_UP, PEFT, KeyFormat, Tensors

LORA_A_DEFAULT = ("lora_A.default.weight", "lora_B.default.weight")


def is_attention(name: str) -> bool:
    return ".attn." in name


def is_xlabs(name: str) -> bool:
    return is_attention(name) or (name.startswith("single") and name.endswith("proj_out"))


@dataclass(frozen=True, slots=True)
class Case:
    """One way to write a LoRA, and the expected layout, ignored keys and warnings."""

    layout: str
    key_format: KeyFormat
    ranks: tuple[int, ...] = (1, 2, 3, 4)
    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    updates: Callable[[str], bool] = lambda name: True
    """which slots the LoRA updates"""
    separate_downs: bool = False
    """whether each part of a fused slot has its own `down`"""
    change: Callable[[Tensors], Tensors] = lambda tensors: tensors
    metadata: Callable[[Lora], dict[str, object]] | None = None
    """the LoraConfig in the header"""
    warnings: tuple[str, ...] = ()
    ignored_keys: tuple[str, ...] = ()


KOHYA = KeyFormat("lora_unet_", "bfl", "_", DOWN_UP, alpha=True)
DIFFUSERS = KeyFormat("transformer.", "diffusers")
LYCORIS = KeyFormat("lycoris_", "diffusers", "_", DOWN_UP, alpha=True)
WITH_ALPHA = replace(DIFFUSERS, alpha=True)
SCALE_ASSUMED = ("scale-assumed",)
MODULES = ("lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_single_blocks_0_linear1")
TEXT_ENCODER_MODULES = (
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
    "lora_te2_encoder_block_0_layer_0_SelfAttention_q",
    "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_0",
)
NON_SLOT_MODULES = (
    "img_in", "txt_in", "time_in_in_layer", "time_in_out_layer", "vector_in_in_layer", "guidance_in_out_layer",
    "final_layer_linear", "final_layer_adaLN_modulation_1",
)  # fmt: skip
CASES: dict[str, Case] = {
    "kohya": Case("kohya", KOHYA),
    "kohya without alpha": Case("kohya", replace(KOHYA, alpha=False)),
    "kohya split_qkv": Case("kohya", KOHYA, separate_downs=True),
    "kohya with text encoders": Case(
        "kohya",
        KOHYA,
        change=with_modules(*TEXT_ENCODER_MODULES),
        ignored_keys=("text-encoder",),
        warnings=("ignored-keys",),
    ),
    "kohya with embedders and final layer": Case(
        "kohya",
        KOHYA,
        change=with_modules(*(f"lora_unet_{module}" for module in NON_SLOT_MODULES)),
        ignored_keys=("embedder", "final-layer"),
        warnings=("ignored-keys",),
    ),
    "kohya with alphas 94 and 123": Case(
        "kohya",
        KOHYA,
        ranks=(94, 123),
        scales=(1.0,),
        updates=lambda name: name.endswith(("to_q", "ff.net.2")),
    ),
    "kohya with mixed ranks and alphas": Case(
        "kohya", KOHYA, ranks=(3, 1, 4, 1, 5), scales=(2.0, 0.75, 0.125)
    ),
    "kohya with negative alphas": Case("kohya", KOHYA, scales=(1.0, -0.75)),
    "kohya with integer alphas": Case("kohya", KOHYA, scales=(1.0, 2.0), change=alphas(torch.int64)),
    "kohya with bf16 alphas": Case("kohya", KOHYA, change=alphas(torch.bfloat16)),
    "kohya without k": Case("kohya", KOHYA, updates=lambda name: "to_k" not in name and "add_k" not in name),
    "kohya under diffusers' names": Case("kohya-diffusers", replace(LYCORIS, prefix="lora_unet_")),
    "lycoris before 4": Case("lycoris", replace(LYCORIS, prefix="lycoris__")),
    "kohya with two underscores": Case("mixed", replace(KOHYA, prefix="lora_unet__")),
    "sliders": Case("mixed", replace(LYCORIS, prefix="lora_unet-", separator="-")),
    "native of a pipeline": Case("native", KeyFormat("pipe.dit.", "native")),
    "suffixes without weight": Case("kohya", replace(KOHYA, suffixes=("lora_down", "lora_up")), warnings=()),
    "comfy": Case("comfy", KeyFormat("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True)),
    "comfy with text encoders": Case(
        "comfy",
        KeyFormat("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True),
        change=with_modules("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"),
        ignored_keys=("text-encoder",),
        warnings=("ignored-keys",),
    ),
    "comfy under diffusers' names": Case(
        "comfy-diffusers", KeyFormat("diffusion_model.", "diffusers", alpha=True)
    ),
    "comfy, down and up under diffusers' names": Case(
        "comfy-diffusers-down", KeyFormat("diffusion_model.", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "bfl-peft": Case("bfl-peft", KeyFormat("diffusion_model.", "bfl")),
    "bfl-peft with alpha": Case("bfl-peft", KeyFormat("diffusion_model.", "bfl", alpha=True)),
    "bfl-transformer": Case("bfl-transformer", KeyFormat("transformer.", "bfl")),
    "bfl-transformer, down and up": Case(
        "onetrainer-bfl", KeyFormat("transformer.", "bfl", ".", DOWN_UP, alpha=True)
    ),
    "bfl without prefix": Case("bfl-bare", KeyFormat("", "bfl"), warnings=SCALE_ASSUMED),
    "bfl without prefix, down and up": Case("bfl-bare-down", KeyFormat("", "bfl", ".", DOWN_UP, alpha=True)),
    "fal-kontext": Case("fal-kontext", KeyFormat("base_model.model.", "bfl"), warnings=SCALE_ASSUMED),
    "ai-toolkit": Case("peft", DIFFUSERS),
    "diffusers with alpha": Case("peft", WITH_ALPHA),
    "diffusers, attention only": Case("peft", WITH_ALPHA, updates=is_attention),
    "diffusers, q and v only": Case("peft", WITH_ALPHA, updates=lambda name: name.endswith(("to_q", "to_v"))),
    "diffusers with adapter name": Case("peft", replace(DIFFUSERS, suffixes=LORA_A_DEFAULT)),
    "diffusers with an adapter name of its own": Case(
        "peft", replace(DIFFUSERS, suffixes=("lora_A.my-style.weight", "lora_B.my-style.weight"))
    ),
    "diffusers without .weight": Case("peft", replace(DIFFUSERS, suffixes=("lora_A", "lora_B"))),
    "PEFT patterns in the header": Case("peft", DIFFUSERS, metadata=config_of),
    "rsLoRA in the header": Case("peft", DIFFUSERS, ranks=(4,), scales=(1.5,), metadata=rank_stabilized),
    "diffusers with fused q, k and v": Case("peft", KeyFormat("transformer.", "diffusers-qkv", alpha=True)),
    "SimpleTuner LyCORIS with fused q, k and v": Case("lycoris", replace(LYCORIS, names="diffusers-qkv")),
    "diffusers, down and up": Case(
        "peft-down", KeyFormat("transformer.", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "PEFT without prefix": Case("peft-bare", KeyFormat("", "diffusers"), warnings=SCALE_ASSUMED),
    "PEFT without prefix, down and up": Case(
        "peft-bare-down", KeyFormat("", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "PEFT model": Case("peft-model", KeyFormat("base_model.model.", "diffusers"), warnings=SCALE_ASSUMED),
    "PEFT pipeline": Case(
        "peft-pipeline", KeyFormat("base_model.model.transformer.", "diffusers"), warnings=SCALE_ASSUMED
    ),
    "PEFT on ComfyUI's names": Case(
        "peft-wrapped", KeyFormat("base_model.model.diffusion_model.", "bfl"), warnings=SCALE_ASSUMED
    ),
    "PEFT on ComfyUI's prefix and diffusers' names": Case(
        "peft-wrapped", KeyFormat("base_model.model.diffusion_model.", "diffusers"), warnings=SCALE_ASSUMED
    ),
    "early diffusers": Case(
        "old-diffusers", KeyFormat("transformer.", "diffusers", ".", ("lora.down.weight", "lora.up.weight"))
    ),
    "OneTrainer": Case("onetrainer", replace(LYCORIS, prefix="lora_transformer_")),
    "OneTrainer, attention only": Case(
        "onetrainer", replace(LYCORIS, prefix="lora_transformer_"), updates=is_attention
    ),
    "OneTrainer under BFL's names": Case(
        "onetrainer-bfl", KeyFormat("transformer.", "numbered", ".", DOWN_UP, alpha=True), separate_downs=True
    ),
    "OneTrainer under BFL's names, mixed": Case(
        "onetrainer-bfl", KeyFormat("lora_transformer_", "numbered", ".", DOWN_UP, alpha=True)
    ),
    "SimpleTuner LyCORIS LoCon": Case("lycoris", LYCORIS),
    "xlabs": Case("xlabs", KeyFormat("", "xlabs", ".", ("down.weight", "up.weight")), updates=is_xlabs),
    "xlabs with prefix": Case(
        "xlabs", KeyFormat("diffusion_model.", "xlabs", ".", ("down.weight", "up.weight")), updates=is_xlabs
    ),
    "kohya's names with A and B": Case("mixed", replace(KOHYA, suffixes=PEFT)),
    "kohya's names with A and B, no alpha": Case("mixed", replace(KOHYA, suffixes=PEFT, alpha=False)),
    "kohya's prefix, diffusers' names, A and B": Case("mixed", KeyFormat("lora_unet_", "diffusers", "_")),
    "checkpoint's prefix": Case("mixed", KeyFormat("model.diffusion_model.", "bfl")),
    "checkpoint's prefix, down and up": Case(
        "mixed", KeyFormat("model.diffusion_model.", "bfl", ".", DOWN_UP, alpha=True)
    ),
    "checkpoint's prefix, diffusers' names": Case("mixed", KeyFormat("model.diffusion_model.", "diffusers")),
    "unet": Case("mixed", KeyFormat("unet.", "diffusers")),
    "unet, BFL's names, down and up": Case("mixed", KeyFormat("unet.", "bfl", ".", DOWN_UP, alpha=True)),
    "unet, early diffusers": Case(
        "mixed", KeyFormat("unet.", "diffusers", ".", ("lora.down.weight", "lora.up.weight"))
    ),
    "kohya as convolutions": Case("kohya", KOHYA, change=as_convolutions),
    "kohya with zero biases": Case(
        "kohya",
        KOHYA,
        change=with_keys(*(f"{module}.diff_b" for module in MODULES)),
        ignored_keys=("zero-difference",),
        warnings=("ignored-keys",),
    ),
    "kohya with zero differences": Case(
        "kohya",
        KOHYA,
        change=with_keys(*(f"{module}.{suffix}" for module in MODULES for suffix in ("diff_b", "diff"))),
        ignored_keys=("zero-difference",),
        warnings=("ignored-keys",),
    ),
    "comfy with differences of norms": Case(
        "comfy",
        KeyFormat("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True),
        change=with_keys(
            "diffusion_model.double_blocks.0.img_attn.norm.query_norm.diff",
            "diffusion_model.double_blocks.0.txt_attn.norm.key_norm.scale.diff",
            "diffusion_model.single_blocks.0.norm.key_norm.diff",
            value=0.5,
        ),
        ignored_keys=("norm",),
        warnings=("ignored-keys",),
    ),
    "attention only, with leftover alphas": Case(
        "kohya",
        KOHYA,
        updates=is_attention,
        change=with_keys(
            "lora_unet_double_blocks_0_img_mlp_0.alpha", "lora_unet_single_blocks_0_linear2.alpha", value=4
        ),
        ignored_keys=("leftover-alpha",),
        warnings=("ignored-keys",),
    ),
    "DiffSynth": Case("native", KeyFormat("", "native")),
    "DiffSynth with adapter name": Case("native", KeyFormat("", "native", ".", LORA_A_DEFAULT)),
    "bf16": Case("peft", WITH_ALPHA, change=cast(torch.bfloat16)),
    "fp16": Case("peft", WITH_ALPHA, change=cast(torch.float16)),
    "fp64": Case("peft", WITH_ALPHA, change=cast(torch.float64)),
    "fp8": Case("peft", WITH_ALPHA, change=cast(torch.float8_e4m3fn), warnings=("fp8",)),
    "fp8 e5m2": Case("peft", WITH_ALPHA, change=cast(torch.float8_e5m2), warnings=("fp8",)),
    "mixed types": Case("peft", WITH_ALPHA, change=cast(torch.float32, torch.bfloat16, torch.float16)),
}
