"""Drawings as tensors, with degradation and augmentation; and what trainings share: batches, precision, averaging."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn
from torch.nn import functional as F

from playground import world

M = TypeVar("M", bound=nn.Module)


def render(
    count: int,
    seed: int,
    objects: Sequence[str] = world.OBJECTS,
    styles: Sequence[str] = (world.PLAIN, *world.ALL_STYLES),
    backgrounds: Sequence[str] = (*world.BACKGROUNDS, *world.SCENES),
    *,
    degraded: bool = False,
    size: int = world.SIZE,
) -> tuple[torch.Tensor, list[world.Scene]]:
    """Return `count` random drawings, optionally degraded, as uint8 pixels (N, 3, size, size), and their scenes."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng, objects, styles, backgrounds) for _ in range(count)]
    return render_scenes(scenes, rng, degraded=degraded, size=size), scenes


def render_scenes(
    scenes: Sequence[world.Scene],
    rng: np.random.Generator,
    *,
    degraded: bool = False,
    size: int = world.SIZE,
) -> torch.Tensor:
    """Return drawings of scenes as uint8 pixels (N, 3, size, size)."""
    images = (world.draw(scene, rng, size) for scene in scenes)
    return torch.stack([to_tensor(degrade(image, rng) if degraded else image) for image in images])


def degrade(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return an image with random blur and JPEG artifacts, which imitate the images of a small model."""
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.25:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(rng.integers(40, 95)))
        image = Image.open(stream).convert("RGB")
    return image


def augment(pixels: torch.Tensor, by: int) -> torch.Tensor:
    """Return images (N, 3, H, W; 0 to 255), randomly mirrored, shifted by up to `by` pixels, and with noise."""
    side = pixels.shape[-1]
    mirrored = torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels.flip(3), pixels)
    padded = F.pad(mirrored.float(), (by, by, by, by), mode="replicate")
    starts = torch.randint(2 * by + 1, (len(pixels), 2)).tolist()
    moved = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, starts, strict=True)]
    noise = torch.rand(len(pixels), 1, 1, 1).pow(2) * 14 * torch.randn(pixels.shape)
    return (torch.stack(moved) + noise).clamp(0, 255)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Return an RGB image as uint8 pixels (3, H, W)."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """Return uint8 pixels as float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield `steps` batches of indices (size,) from shuffled epochs over 0..count-1; incomplete batches are dropped."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    start = 0
    for _ in range(steps):
        if start + size > len(order):
            order, start = torch.randperm(count, generator=generator), 0
        yield order[start : start + size]
        start += size


def precision() -> torch.autocast:
    """Return the context in which trainings compute: in bfloat16 if the processor has AVX-512, else in float32.

    With AVX2 alone a product in bfloat16 takes about 70 times as long as one in float32.
    """
    return torch.autocast("cpu", torch.bfloat16, enabled="AVX512" in torch.backends.cpu.get_cpu_capability())


def decay(step: int, steps: int, warmup: int = 50) -> float:
    """Return the learning-rate factor: linear warm-up, then a half cosine to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))


class MovingAverage(Generic[M]):
    """The exponential moving average of a model's weights; trainings save this one."""

    def __init__(self, model: M, share: float) -> None:
        self.model, self.share = copy.deepcopy(model).requires_grad_(False), share

    @torch.no_grad()
    def update(self, model: M, step: int) -> None:
        """Update the average after a step; the first steps have a larger weight."""
        averages: list[torch.Tensor] = list(self.model.parameters())
        weights: list[torch.Tensor] = list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1 - min(self.share, step / (step + 10)))
