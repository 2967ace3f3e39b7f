"""The oracle: a small ResNet that names object, colour, background and style of a picture.

The first judge.  It learns from drawings that nothing else is taught by and never sees a generated
picture.  One ResNetForImageClassification holds all fields: its labels are "object:cat",
"colour:red", ..., and the logits of one field compete among themselves.
"""

from __future__ import annotations

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
    """Describe the network: four stages of basic blocks, from 16x16 down to 2x2."""
    return ResNetConfig(
        embedding_size=32,
        hidden_sizes=[32, 64, 128, 192],
        depths=[2, 2, 2, 1],
        layer_type="basic",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )


def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sum the cross entropies of the fields: logits (B, L) against numbers (B, 4)."""
    parts = logits.split(WIDTHS, dim=1)
    return torch.stack([F.cross_entropy(part, target[:, i]) for i, part in enumerate(parts)]).sum()


def build(scale: float) -> dict[str, float]:
    """Train the oracle for `scale` times its steps and save it; return its accuracies."""
    torch.manual_seed(SEED)
    steps = max(2, round(STEPS * scale))
    pixels, scenes = drawings.render(max(200, round(DRAWINGS * min(1, scale))), SEED, spoilt=True)
    model = _train(ResNetForImageClassification(config()), pixels, world.number(scenes), steps)
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
    averaged = drawings.Average(model, EMA)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, steps))
    for step, rows in enumerate(drawings.batches(len(pixels), BATCH, steps, SEED)):
        image = drawings.shake(pixels[rows], by=3) / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
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
    for kept, new in zip(averaged.model.buffers(), model.buffers(), strict=True):
        kept.copy_(new)  # batch norm's running means are averages already
    return averaged.model.eval()


def load() -> ResNetForImageClassification:
    """Load the saved oracle in float32, in eval mode."""
    return ResNetForImageClassification.from_pretrained(HOME, dtype=torch.float32).eval()


@torch.no_grad()
def name(model: ResNetForImageClassification, pixels: torch.Tensor) -> list[world.Scene]:
    """Say what pictures (N, 3, 64, 64; uint8) show."""
    logits = torch.cat([model(pixel_values=drawings.signed(part)).logits for part in pixels.split(128)])
    best = torch.stack([part.argmax(1) for part in logits.split(WIDTHS, dim=1)], 1).tolist()
    rows = zip(*best, strict=True)
    values = [[names[i] for i in row] for names, row in zip(world.FIELDS.values(), rows, strict=True)]
    return [world.Scene(*row) for row in zip(*values, strict=True)]


def stack(images: list[Image.Image]) -> torch.Tensor:
    """Turn RGB images into uint8 pixels (N, 3, 64, 64)."""
    return torch.stack([drawings.to_tensor(image) for image in images])


def check(seed: int, count: int = 2000) -> dict[str, float]:
    """Return the accuracy by field on fresh drawings."""
    pixels, scenes = drawings.render(count, seed)
    right = world.number(scenes) == world.number(name(load(), pixels))
    return dict(zip(world.FIELDS, right.mean(0).round(4).tolist(), strict=True))
