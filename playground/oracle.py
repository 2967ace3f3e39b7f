"""The oracle: a small ResNet that classifies object, colour, background and style of an image.

It is one of the judges: it is trained on drawings that no other model is trained on, and never on generated images.
One ResNetForImageClassification predicts all fields: its labels are "object:cat", "colour:red", ..., with one softmax
per field.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

from playground import drawings, world

HOME = Path(__file__).parent / "models" / "judges" / "oracle"
DRAWINGS, BATCH, STEPS, RATE, EMA, SEED = 24000, 64, 3200, 2e-3, 0.998, 21
WIDTHS = [len(names) for names in world.FIELDS.values()]
LABELS = [f"{field}:{name}" for field, names in world.FIELDS.items() for name in names]
MEAN = STD = [0.5, 0.5, 0.5]


def config() -> ResNetConfig:
    """Return the configuration: four stages of basic blocks, from 16x16 down to 2x2."""
    return ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 192],
        depths=[2, 2, 2, 1],
        layer_type="basic",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )


def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the sum over fields of the cross entropies of logits (B, L) against label indices (B, 4)."""
    parts = torch.split(logits, WIDTHS, dim=1)
    return torch.stack([F.cross_entropy(part, target[:, i]) for i, part in enumerate(parts)]).sum()


def build(scale: float) -> dict[str, float]:
    """Train the oracle for `scale` times its steps and save it; return its accuracies."""
    torch.manual_seed(SEED)
    steps = max(2, round(STEPS * scale))
    pixels, scenes = drawings.render(max(200, round(DRAWINGS * min(1, scale))), SEED, degraded=True)
    model = _train(ResNetForImageClassification(config()), pixels, world.label_indices(scenes), steps)
    HOME.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(HOME)
    model.float()
    side = {"shortest_edge": world.SIZE}
    ConvNextImageProcessor(size=side, crop_pct=1.0, image_mean=MEAN, image_std=STD).save_pretrained(HOME)
    return check(SEED + 1)


def _train(
    model: ResNetForImageClassification, pixels: torch.Tensor, numbers: np.ndarray, steps: int
) -> ResNetForImageClassification:
    target, average = torch.from_numpy(numbers), 0.0
    averaged = drawings.MovingAverage(model, EMA)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, steps))
    for step, rows in enumerate(drawings.batches(len(pixels), BATCH, steps, SEED)):
        image = drawings.augment(pixels[rows], by=3) / 127.5 - 1
        with drawings.precision():
            logits = model(pixel_values=image).logits
        value = loss(logits.float(), target[rows])
        optimizer.zero_grad()
        torch.autograd.backward(value)
        optimizer.step()
        schedule.step()
        averaged.update(model, step)
        average = value.item() if step == 0 else 0.97 * average + 0.03 * value.item()
        if step % 100 == 0:
            print(f"oracle {step}/{steps} loss {average:.3f}", flush=True)
    for averaged_buffer, buffer in zip(averaged.model.buffers(), model.buffers(), strict=True):
        averaged_buffer.copy_(buffer)  # batch norm's running statistics are averages already
    return averaged.model.eval()


def load() -> ResNetForImageClassification:
    """Return the saved oracle, in float32 and eval mode."""
    return ResNetForImageClassification.from_pretrained(HOME, dtype=torch.float32).eval()


@torch.no_grad()
def classify(model: ResNetForImageClassification, pixels: torch.Tensor) -> list[world.Scene]:
    """Return the predicted scenes of images (N, 3, 64, 64; uint8)."""
    parts = torch.split(pixels, 128)
    logits = torch.cat([model(pixel_values=drawings.to_signed(part)).logits for part in parts])
    best = torch.stack([part.argmax(1) for part in torch.split(logits, WIDTHS, dim=1)], 1).tolist()
    rows = zip(*best, strict=True)
    values = [[names[i] for i in row] for names, row in zip(world.FIELDS.values(), rows, strict=True)]
    return [world.Scene(*row) for row in zip(*values, strict=True)]


def stack(images: Sequence[Image.Image]) -> torch.Tensor:
    """Return RGB images as uint8 pixels (N, 3, 64, 64), resized as the oracle's image processor does it."""
    side = (world.SIZE, world.SIZE)
    return torch.stack([drawings.to_tensor(image.resize(side, Image.Resampling.BICUBIC)) for image in images])


def check(seed: int, count: int = 2000) -> dict[str, float]:
    """Return the accuracy by field on fresh drawings."""
    pixels, scenes = drawings.render(count, seed)
    is_right = world.label_indices(scenes) == world.label_indices(classify(load(), pixels))
    return dict(zip(world.FIELDS, is_right.mean(0).round(4).tolist(), strict=True))
