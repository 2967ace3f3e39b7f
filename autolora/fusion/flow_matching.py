"""Flow matching with a FluxPipeline: images as latents, captions as embeddings, noise, and the predicted velocity."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

ENCODE_BATCH = 16
"""images or captions per call of an encoder"""
NUM_NOISE_LEVELS = 1000
TRUNCATING_LOGGERS = ("diffusers.pipelines.flux.pipeline_flux", "transformers.tokenization_utils_base")
"""loggers that warn of each caption which is longer than a text encoder reads"""

Captions = tuple[Tensor, Tensor]
"""T5 states (N, L, D) and CLIP features (N, d)"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NoisedBatch:
    """Noised images with their captions, on the transformer's device."""

    noised: Tensor
    """(B, T, C): x_t = (1 - σ) x0 + σ ε"""
    velocity: Tensor
    """(B, T, C): ε - x0"""
    sigma: Tensor
    """(B,): noise level, 0 to 1"""
    states: Tensor
    """(B, L, D)"""
    pooled: Tensor
    """(B, d)"""


def shifted_sigmas(shift: float) -> Tensor:
    """Return the noise levels (NUM_NOISE_LEVELS,), falling from 1: s·t / (1 + (s - 1)·t) for evenly spaced t."""
    t = torch.linspace(1, 1 / NUM_NOISE_LEVELS, NUM_NOISE_LEVELS)
    return shift * t / (1 + (shift - 1) * t)


@torch.no_grad()
def encode_captions(pipeline: Any, texts: Sequence[str], tokens: int) -> Captions:
    """Return T5 states (N, tokens, D) and CLIP features (N, d) of texts, on the CPU; long texts are truncated."""
    with _quiet(TRUNCATING_LOGGERS):
        encoded = [
            pipeline.encode_prompt(prompt=list(batch), prompt_2=None, max_sequence_length=tokens)
            for batch in _batches(texts)
        ]
    return torch.cat([part[0].cpu() for part in encoded]), torch.cat([part[1].cpu() for part in encoded])


@contextmanager
def _quiet(names: Sequence[str]) -> Iterator[None]:
    """Suppress warnings of these loggers."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@torch.no_grad()
def encode_images(pipeline: Any, images: Sequence[Image.Image], size: int) -> Tensor:
    """Return packed latents (N, T, C) of images, cropped to their central square of `size` px, on the CPU."""
    return torch.cat([_encode_batch(pipeline, batch, size) for batch in _batches(images)])


def _encode_batch(pipeline: Any, images: Sequence[Image.Image], size: int) -> Tensor:
    """Return packed latents (B, T, C) of images, with the scale and shift that the pipeline decodes them with."""
    vae = pipeline.vae
    pixels = torch.stack([_pixels(image, size) for image in images]).to(vae.device, vae.dtype)
    latents = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    packed: Tensor = pipeline._pack_latents(latents, *latents.shape)
    return packed.cpu()


def _pixels(image: Image.Image, size: int) -> Tensor:
    """Return the pixels (3, size, size), -1 to 1, of an image cropped to its central square."""
    square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(square, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


def _batches(items: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (items[start : start + ENCODE_BATCH] for start in range(0, len(items), ENCODE_BATCH))


def add_noise(
    clean: Tensor, noise: Tensor, sigma: Tensor, captions: Captions, device: torch.device
) -> NoisedBatch:
    """Return latents (B, T, C) with noise (B, T, C) of levels (B,), beside captions (B, ...), on a device."""
    level = sigma.to(clean.dtype)[:, None, None]
    tensors = {
        "noised": (1 - level) * clean + level * noise,
        "velocity": noise - clean,
        "sigma": sigma,
        "states": captions[0],
        "pooled": captions[1],
    }
    return NoisedBatch(**{name: tensor.to(device) for name, tensor in tensors.items()})


def predict_velocity(transformer: Any, batch: NoisedBatch, guidance: float) -> Tensor:
    """Return the velocity (B, T, C) that the transformer predicts for square images.

    guidance: ignored by a transformer without guidance embedding.
    """
    count, tokens, _ = batch.noised.shape
    device, side = batch.noised.device, round(tokens**0.5)
    velocity: Tensor = transformer(
        hidden_states=batch.noised,
        timestep=batch.sigma.to(batch.noised.dtype),
        guidance=torch.full((count,), guidance, device=device)
        if transformer.config.guidance_embeds
        else None,
        pooled_projections=batch.pooled,
        encoder_hidden_states=batch.states,
        txt_ids=torch.zeros(batch.states.shape[1], 3, device=device),
        img_ids=_position_ids(side).to(device),
        return_dict=False,
    )[0]
    return velocity


def _position_ids(side: int) -> Tensor:
    """Return the position ids (side², 3) of a square image: 0, row, column, as in FluxPipeline."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()
