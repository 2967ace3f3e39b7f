"""The tiny FLUX: a diffusers FluxPipeline with its flow-matching loss. `bases.py` trains it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel

from playground import clip, oracle, text, vae, world

HOME = Path(__file__).parent / "models" / "flux"
SAMPLING_STEPS, GUIDANCE = 12, 3.5
SCHEDULE = {  # FLUX.1-dev's scheduler_config.json
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}


@dataclass(frozen=True)
class Batch:
    """Latents of images (B, image tokens, 64), with the T5 states (B, 32, D) and CLIP vectors (B, 128) of captions."""

    latents: torch.Tensor
    states: torch.Tensor
    pooled: torch.Tensor


def transformer() -> FluxTransformer2DModel:
    """Return an untrained transformer with two double and four single blocks, each with 4 heads of 32."""
    return FluxTransformer2DModel(
        patch_size=1,
        in_channels=64,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=4,
        joint_attention_dim=64,
        pooled_projection_dim=clip.WIDTH,
        guidance_embeds=True,
        axes_dims_rope=(8, 12, 12),
    )


def t5(vocabulary: int) -> T5EncoderModel:
    """Return an untrained two-layer T5 encoder of width 64."""
    return T5EncoderModel(
        T5Config(
            vocab_size=vocabulary,
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            relative_attention_num_buckets=16,
            relative_attention_max_distance=32,
        )
    )


def pack(latents: torch.Tensor) -> torch.Tensor:
    """Return latents (B, 16, H, W) as tokens (B, H/2 * W/2, 64), as FluxPipeline packs them."""
    return torch.as_tensor(FluxPipeline._pack_latents(latents, *latents.shape))


def noise_levels(count: int, tokens: int, generator: torch.Generator) -> torch.Tensor:
    """Return random logit-normal sigmas (B,), shifted as the scheduler shifts them for so many image tokens."""
    slope = (SCHEDULE["max_shift"] - SCHEDULE["base_shift"]) / (4096 - 256)
    mu = SCHEDULE["base_shift"] + slope * (tokens - 256)
    return torch.sigmoid(torch.randn(count, generator=generator) + mu)


def loss(model: FluxTransformer2DModel, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """Return the flow-matching loss: the squared error of the velocity, which is noise minus latents."""
    count, tokens, _ = batch.latents.shape
    sigma, side = noise_levels(count, tokens, generator), math.isqrt(tokens)
    noise = torch.randn(batch.latents.shape, generator=generator)
    level = sigma[:, None, None]
    guidance = torch.where(torch.rand(count, generator=generator) < 0.5, 1.0, GUIDANCE)
    velocity = model(
        hidden_states=(1 - level) * batch.latents + level * noise,
        timestep=sigma,
        guidance=guidance,
        pooled_projections=batch.pooled,
        encoder_hidden_states=batch.states,
        txt_ids=torch.zeros(batch.states.shape[1], 3),
        img_ids=FluxPipeline._prepare_latent_image_ids(1, side, side, "cpu", torch.float32),
        return_dict=False,
    )[0]
    return F.mse_loss(velocity.float(), noise - batch.latents)


def save(
    model: FluxTransformer2DModel,
    encoder: T5EncoderModel,
    tower: CLIPModel,
    tokenizer: CLIPTokenizer,
    home: Path = HOME,
    size: int = world.SIZE,
) -> None:
    """Save the pipeline folder, weights in bf16; the text tower of `tower` becomes the CLIP text encoder.

    size: pixels per side of its images, which the autoencoder's config has as `sample_size`.
    """
    autoencoder = vae.load()
    autoencoder.register_to_config(sample_size=size)
    text_encoder = CLIPTextModel(tower.config.text_config)
    names = text_encoder.state_dict().keys()
    weights = tower.text_model.state_dict()
    prefix = "text_model." if any(name.startswith("text_model.") for name in names) else ""
    text_encoder.load_state_dict({prefix + k: v for k, v in weights.items() if prefix + k in names})
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(**SCHEDULE),
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=text.t5_tokenizer(),
        transformer=model,
    )
    pipe.to(torch.bfloat16).save_pretrained(home)
    _store_float32(home)
    _remove_local_path(home / "vae" / "config.json")


def _remove_local_path(path: Path) -> None:
    """Remove the local path that the part was loaded from out of its config."""
    settings = json.loads(path.read_text())
    settings.pop("_name_or_path", None)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _store_float32(folder: Path) -> None:
    """Set the dtype in the text encoders' configs to float32.

    Otherwise transformers would load them in the dtype of their files, while diffusers loads float32.
    """
    for part in ("text_encoder", "text_encoder_2"):
        path = folder / part / "config.json"
        settings = json.loads(path.read_text()) | {"dtype": "float32"}
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def load(home: Path = HOME) -> FluxPipeline:
    """Return a saved pipeline in float32, frozen and without progress bars."""
    pipe = FluxPipeline.from_pretrained(home, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    for part in (pipe.transformer, pipe.text_encoder, pipe.text_encoder_2, pipe.vae):
        part.requires_grad_(False).eval()
    return pipe


def sample(pipe: FluxPipeline, prompts: list[str], seed: int) -> list[Image.Image]:
    """Return one image per prompt, generated in 12 steps; image i has the seed `seed + i`."""
    images: list[Image.Image] = []
    size = pipe.vae.config.sample_size
    for start in range(0, len(prompts), 32):
        part = prompts[start : start + 32]
        noise = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        images += pipe(
            part,
            height=size,
            width=size,
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE,
            max_sequence_length=text.LENGTH,
            generator=noise,
        ).images
    return images


def encode_texts(pipe: FluxPipeline, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the T5 states (N, 32, 64) and the CLIP vectors (N, 128) of texts, as the pipeline computes them."""
    with torch.no_grad():
        states, pooled, _ = pipe.encode_prompt(prompt=texts, prompt_2=None, max_sequence_length=text.LENGTH)
    return states, pooled


def sample_scene(rng: np.random.Generator) -> world.Scene:
    """Return a random scene among those that the base is trained on."""
    return world.sample_scene(rng, world.BASE_OBJECTS, (world.PLAIN,), world.BACKGROUNDS)


def check(seed: int, home: Path = HOME, count: int = 192) -> dict[str, float]:
    """Return the shares of the base's images in which the oracle recognizes what the prompt names, by field."""
    rng = np.random.default_rng(seed)
    scenes = [sample_scene(rng) for _ in range(count)]
    images = sample(load(home), text.captions(scenes, rng, filler=0.0), seed)
    predicted = oracle.classify(oracle.load(), oracle.stack(images))
    is_right = world.label_indices(scenes) == world.label_indices(predicted)
    shares = {
        f"right_{field}": round(float(is_right[:, i].mean()), 3) for i, field in enumerate(world.FIELDS)
    }
    return {**shares, "right_all": round(float(is_right.all(1).mean()), 3)}
