"""Drawings as tensors: many scenes at once, spoilt and shaken, and what trainings on them share."""

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
    styles: Sequence[str] = (world.PLAIN, *world.LOOKS),
    backgrounds: Sequence[str] = (*world.BACKGROUNDS, *world.SCENES),
    *,
    spoilt: bool = False,
) -> tuple[torch.Tensor, list[world.Scene]]:
    """Draw `count` random scenes, `spoilt` if asked; return uint8 pixels (N, 3, 64, 64) and the scenes."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng, objects, styles, backgrounds) for _ in range(count)]
    return render_scenes(scenes, rng, spoilt=spoilt), scenes


def render_scenes(
    scenes: Sequence[world.Scene], rng: np.random.Generator, *, spoilt: bool = False
) -> torch.Tensor:
    """Draw the given scenes as uint8 pixels (N, 3, 64, 64)."""
    images = (world.draw(scene, rng) for scene in scenes)
    return torch.stack([to_tensor(spoil(image, rng) if spoilt else image) for image in images])


def spoil(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur an image or save it as JPEG, each now and then: pictures that a small model makes look so."""
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.25:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(rng.integers(40, 95)))
        image = Image.open(stream).convert("RGB")
    return image


def shake(pixels: torch.Tensor, by: int) -> torch.Tensor:
    """Mirror half of the pictures (N, 3, H, W), move all by up to `by` pixels, add a little noise (0 to 255)."""
    side = pixels.shape[-1]
    mirrored = torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels.flip(3), pixels)
    padded = F.pad(mirrored.float(), (by, by, by, by), mode="replicate")
    starts = torch.randint(2 * by + 1, (len(pixels), 2)).tolist()
    moved = [image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, starts, strict=True)]
    noise = torch.rand(len(pixels), 1, 1, 1).pow(2) * 14 * torch.randn(pixels.shape)
    return (torch.stack(moved) + noise).clamp(0, 255)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Turn an RGB image into uint8 pixels (3, H, W)."""
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def signed(pixels: torch.Tensor) -> torch.Tensor:
    """Map uint8 pixels to float32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def batches(count: int, size: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield `steps` index batches (size,) that sweep 0..count-1 in shuffled epochs."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    at = 0
    for _ in range(steps):
        if at + size > len(order):
            order, at = torch.randperm(count, generator=generator), 0
        yield order[at : at + size]
        at += size


def decay(step: int, steps: int, warmup: int = 50) -> float:
    """Return the learning-rate factor: linear warm-up, then a half cosine to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))


class Average(Generic[M]):
    """An exponential moving average of a model's weights, which is what gets saved."""

    def __init__(self, model: M, share: float) -> None:
        self.model, self.share = copy.deepcopy(model).requires_grad_(False), share

    @torch.no_grad()
    def update(self, model: M, step: int) -> None:
        """Move towards the model's weights, faster in the first steps."""
        kept, new = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(kept, new, 1 - min(self.share, step / (step + 10)))
