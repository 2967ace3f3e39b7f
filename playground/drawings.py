"""Drawings as tensors: many scenes at once, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from playground import world


def render(
    count: int,
    seed: int,
    objects: Sequence[str] = world.OBJECTS,
    styles: Sequence[str] = (world.PLAIN, *world.STYLES),
) -> tuple[torch.Tensor, list[world.Scene]]:
    """Draw `count` random scenes; return uint8 pixels (N, 3, 64, 64) and the scenes."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng, objects, styles) for _ in range(count)]
    return render_scenes(scenes, rng), scenes


def render_scenes(scenes: Sequence[world.Scene], rng: np.random.Generator) -> torch.Tensor:
    """Draw the given scenes as uint8 pixels (N, 3, 64, 64)."""
    return torch.stack([to_tensor(world.draw(scene, rng)) for scene in scenes])


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
