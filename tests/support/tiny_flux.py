"""A tiny FluxPipeline with random weights, which is built in a second, and random adapters for it."""

import string
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from autolora.lora.factors import Factors, Lora
from autolora.lora.slots import fused_slots, slots

CONFIG = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "joint_attention_dim": 16,
    "pooled_projection_dim": 16,
    "guidance_embeds": True,
    "axes_dims_rope": (4, 6, 6),
}
TOKENS = 12
"""maximum number of text tokens"""
KOHYA_NAMES = {
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
    "proj_out": "linear2",
    "norm.linear": "modulation_lin",
}
"""type of a fused slot -> its name in kohya's layout"""


def build_pipeline() -> Any:
    """Return the pipeline; an image of 32 x 32 px has 4 x 4 latents of 4 channels, which are 4 tokens."""
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    torch.manual_seed(0)
    clip = CLIPTextConfig(
        vocab_size=80, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=TOKENS, bos_token_id=78, eos_token_id=79, pad_token_id=79,
    )  # fmt: skip
    t5 = T5Config(vocab_size=80, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(4, 4, 4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=2,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.5, shift_factor=0.1,
    )  # fmt: skip
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae,
        text_encoder=CLIPTextModel(clip),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(**CONFIG),
    )
    for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2):
        part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def build_other_pipeline(**config: int) -> Any:
    """Return what has the transformer of another base model: fields of its config, else CONFIG."""
    from diffusers import FluxTransformer2DModel

    return SimpleNamespace(transformer=FluxTransformer2DModel(**{**CONFIG, **config}))


@cache
def save_pipeline(folder: Path) -> Path:
    """Save the pipeline as a diffusers folder, once per process; return the folder."""
    build_pipeline().save_pretrained(folder)
    return folder


def random_lora(seed: int, rank: int = 3, strength: float = 0.5, share: float = 1.0) -> Lora:
    """Return a random adapter.

    strength: size of an update relative to a weight. share: of slots that have an update.
    """
    rng = torch.Generator().manual_seed(seed)
    lora = {}
    for slot in slots(CONFIG):
        down = torch.randn(rank, slot.d_in, generator=rng) / slot.d_in**0.5
        up = torch.randn(slot.d_out, rank, generator=rng) * strength
        if float(torch.rand((), generator=rng)) < share:
            lora[slot.name] = Factors(down=down, up=up, scale=0.5)
    return lora


def save_peft(lora: Lora, path: Path) -> Path:
    """Save an adapter in the PEFT layout of diffusers, with its scale multiplied into B."""
    tensors = {}
    for name, factors in lora.items():
        tensors[f"transformer.{name}.lora_A.weight"] = factors.down.clone()
        tensors[f"transformer.{name}.lora_B.weight"] = factors.up * factors.scale
    save_file(tensors, path)
    return path


def save_kohya(seed: int, path: Path, rank: int = 4, alpha: float = 2.0) -> Path:
    """Save a random adapter in kohya's layout, whose alpha differs from its rank.

    It has no `linear1` of single blocks, because diffusers splits that slot at the widths of FLUX.1-dev.
    """
    rng = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for slot in fused_slots(CONFIG):
        if slot.type not in KOHYA_NAMES:
            continue
        stack, block, _ = slot.name.split(".", 2)
        kind = "double" if stack == "blocks" else "single"
        name = f"lora_unet_{kind}_blocks_{block}_{KOHYA_NAMES[slot.type]}"
        tensors[f"{name}.lora_down.weight"] = torch.randn(rank, slot.d_in, generator=rng) / slot.d_in**0.5
        tensors[f"{name}.lora_up.weight"] = torch.randn(slot.d_out, rank, generator=rng) * 0.5
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


def _clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    letters = [*string.ascii_lowercase, *(letter + "</w>" for letter in string.ascii_lowercase)]
    letters += [f"<{i}>" for i in range(78 - len(letters))]
    vocab = {piece: i for i, piece in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=TOKENS)


def _t5_tokenizer() -> Any:
    from transformers import T5TokenizerFast

    pieces = {"<pad>": 0.0, "</s>": 0.0, "<unk>": 0.0, "▁": -4.0} | dict.fromkeys(
        string.ascii_lowercase, -5.0
    )
    return T5TokenizerFast(vocab=list(pieces.items()), extra_ids=0, model_max_length=TOKENS)
