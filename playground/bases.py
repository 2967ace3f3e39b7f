"""Training of the base model.

A base is trained by flow matching on plain drawings of the twelve base objects. Its T5 encoder is trained together with
its transformer; the CLIP text tower and the autoencoder are trained before. A training that was
interrupted continues at its last checkpoint, and a base that exists is not trained again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPModel, CLIPTokenizer

from autolora.checkpoint import Stateful
from playground import clip, drawings, flux, text, vae, world
from playground.checkpoints import Checkpoint

BATCH, EMA, CAPTIONS = 32, 0.998, 3
CHECKPOINT_EVERY = 100
"""steps between two checkpoints"""


@dataclass(frozen=True)
class Base:
    """One base: the folder of its pipeline, and its training."""

    home: Path
    seed: int
    size: int = world.SIZE
    """pixels per side of the drawings and of the base's images"""
    drawings: int = 9000
    steps: int = 5000
    rate: float = 1.5e-3
    short: int = 22
    """number of T5 tokens of the first steps, which are cheaper"""
    short_share: float = 0.7
    """share of the steps with `short` tokens"""

    @property
    def checkpoint(self) -> Path:
        """The file beside the pipeline from which an interrupted training continues."""
        return self.home.with_name(f"{self.home.name}.checkpoint")

    @property
    def recipe(self) -> str:
        """What is trained, in words that do not depend on where the repository is."""
        return str(replace(self, home=Path(self.home.name)))

    def scaled(self, scale: float) -> Base:
        """Return the base with `scale` times its steps, and at most its drawings."""
        return replace(
            self,
            drawings=max(128, round(self.drawings * min(1, scale))),
            steps=max(2, round(self.steps * scale)),
        )


MAIN = Base(flux.HOME, seed=20260101)


@dataclass(frozen=True)
class TrainingSet:
    """Latents (N, L, 64) of drawings, with the T5 ids (N, 3, 32) and CLIP vectors (N, 3, 128) of their captions."""

    latents: torch.Tensor
    ids: torch.Tensor
    pooled: torch.Tensor


def build(base: Base, scale: float = 1.0) -> dict[str, float]:
    """Train a base for `scale` times its steps and save its pipeline; return its loss and accuracies."""
    base = base.scaled(scale)
    torch.manual_seed(base.seed)
    tower, tokenizer = clip.load()
    data = _training_set(base, tower, tokenizer)
    print(f"{base.home.name}: {base.drawings} drawings encoded", flush=True)
    average, models = _train(base, _models(), data)
    flux.save(models[0], models[1], tower, tokenizer, base.home, base.size)
    base.checkpoint.unlink(missing_ok=True)  # not before: an interrupted save is repeated from it
    return {"loss": average, **flux.check(base.seed + 1, base.home)}


def _training_set(base: Base, tower: CLIPModel, tokenizer: CLIPTokenizer) -> TrainingSet:
    """Return the encoded drawings of a base and their captions."""
    rng = np.random.default_rng(base.seed)
    kinds = (world.BASE_OBJECTS, (world.PLAIN,), world.BACKGROUNDS)
    pixels, scenes = drawings.render(base.drawings, base.seed, *kinds, size=base.size)
    latents = flux.pack(vae.encode(vae.load(), pixels))
    texts = [text.captions(scenes, rng) for _ in range(CAPTIONS)]
    t5 = text.t5_tokenizer()
    ids = torch.stack([text.encode(t5, t) for t in texts], 1)
    return TrainingSet(latents, ids, torch.stack([_pool(tower, tokenizer, t) for t in texts], 1))


@torch.no_grad()
def _pool(tower: CLIPModel, tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    ids = text.encode(tokenizer, texts)
    return torch.cat([tower.text_model(input_ids=part).pooler_output for part in torch.split(ids, 512)])


def _models() -> torch.nn.ModuleList:
    """Return the transformer and the T5 encoder that the training starts with."""
    return torch.nn.ModuleList([flux.transformer(), flux.t5(len(text.t5_tokenizer()))])


def _train(base: Base, models: torch.nn.ModuleList, data: TrainingSet) -> tuple[float, torch.nn.ModuleList]:
    """Return the mean loss of the last steps, and the averaged models."""
    generator = torch.Generator().manual_seed(base.seed)
    averaged = drawings.MovingAverage(models, EMA)
    optimizer = torch.optim.AdamW(models.parameters(), lr=base.rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, base.steps, 100))
    parts: dict[str, Stateful] = {
        "models": models,
        "averaged": averaged.model,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    checkpoint = Checkpoint(base.checkpoint, base.recipe, parts, generator)
    start, average = checkpoint.load()
    for step, rows in enumerate(drawings.batches(len(data.latents), BATCH, base.steps, base.seed)):
        if step < start:
            continue
        length = base.short if step < base.short_share * base.steps else text.LENGTH
        value = _loss(models, data, rows, length, generator)
        optimizer.zero_grad()
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(models.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update(models, step)
        average = value.item() if step == 0 else 0.98 * average + 0.02 * value.item()
        if (step + 1) % CHECKPOINT_EVERY == 0:
            checkpoint.save(step + 1, average)
            print(f"{base.home.name} {step + 1}/{base.steps} loss {average:.4f} {time.ctime()}", flush=True)
    return average, averaged.model


def _loss(
    models: torch.nn.ModuleList,
    data: TrainingSet,
    rows: torch.Tensor,
    length: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """Return the flow-matching loss of a batch with one random caption per drawing, cut to `length` T5 tokens."""
    variant = torch.randint(data.ids.shape[1], (len(rows),), generator=generator)
    with drawings.precision():
        states = models[1](input_ids=data.ids[rows, variant, :length]).last_hidden_state.float()
        batch = flux.Batch(data.latents[rows], states, data.pooled[rows, variant])
        return flux.loss(models[0], batch, generator)
