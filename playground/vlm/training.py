"""Training of the tiny VLMs: the one that captions the pool, and the judge.

The judge has another width and another seed, and is trained on other drawings. Linear heads that predict object,
colour, background and style from the image tokens support the training; they are discarded after it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from playground import drawings, world
from playground.vlm import questions
from playground.vlm.conversations import TrainingSet, enlarge, make_training_set
from playground.vlm.evaluation import check
from playground.vlm.forward import answer_loss, hidden_states, image_tokens
from playground.vlm.model import config, instructions, processor, question, save

MODELS = Path(__file__).parents[1] / "models"
BATCH, RATE, EMA = 32, 1e-3, 0.998
HEADS_WEIGHT = 0.3
"""weight of the heads' loss relative to that of the answers"""


@dataclass(frozen=True)
class Recipe:
    """One VLM: its folder, its size, and its training."""

    home: Path
    width: int
    """of all layers; attention heads have 32"""
    layers: int
    drawings: int
    vision_steps: int
    """steps that train the vision part alone"""
    joint_steps: int
    """steps that train the whole model"""
    question_drawings: int
    """drawings of the second training (`questions`)"""
    question_steps: int
    """steps of the second training"""
    seed: int


MAIN = Recipe(
    MODELS / "vlm",
    192,
    layers=3,
    drawings=14000,
    vision_steps=2000,
    joint_steps=3400,
    question_drawings=5000,
    question_steps=1800,
    seed=11,
)
JUDGE = Recipe(
    MODELS / "judges" / "vlm",
    128,
    layers=3,
    drawings=12000,
    vision_steps=2000,
    joint_steps=1600,
    question_drawings=5000,
    question_steps=1800,
    seed=41,
)


class Heads(nn.Module):
    """One linear classifier per field, on the mean of an image's tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fields = nn.ModuleList(nn.Linear(width, len(names)) for names in world.FIELDS.values())

    def forward(self, tokens: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the sum over fields of the cross entropies of tokens (B, 9, width) against targets (B, 4)."""
        mean = tokens.mean(1)
        return torch.stack([F.cross_entropy(h(mean), target[:, i]) for i, h in enumerate(self.fields)]).sum()


def build(recipe: Recipe, scale: float = 1.0) -> dict[str, float]:
    """Train a VLM for `scale` times its steps, save it, and return its accuracies (see `check`)."""
    torch.manual_seed(recipe.seed)
    reader = processor()
    count = max(200, round(recipe.drawings * min(1, scale)))
    data = make_training_set(count, reader, instructions(), question(), recipe.seed)
    model = Qwen2_5_VLForConditionalGeneration(config(reader.tokenizer, recipe.width, recipe.layers))
    vision_steps, joint_steps = (
        max(1, round(steps * scale)) for steps in (recipe.vision_steps, recipe.joint_steps)
    )
    save(train(model, data, vision_steps, joint_steps, recipe), reader, recipe.home)
    return _accuracies(recipe)


def build_questions(recipe: Recipe, scale: float = 1.0) -> dict[str, float]:
    """Train the saved VLM to answer questions, save it, and return its accuracies (see `check`)."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed + 2)
    reader = AutoProcessor.from_pretrained(recipe.home)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(recipe.home, dtype=torch.float32)
    count = max(100, round(recipe.question_drawings * min(1, scale)))
    scenes = [world.sample_scene(rng) for _ in range(count)]
    pixels = enlarge(drawings.render_scenes(scenes, rng, degraded=True))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parts = torch.split(pixels, 64)
        tokens = torch.cat([image_tokens(model, drawings.augment(part, by=4)) for part in parts])
    conversations = [questions.converse(scene, reader, instructions(), question(), rng) for scene in scenes]
    steps = max(1, round(recipe.question_steps * scale))
    questions.train(model, tokens, conversations, steps, recipe.seed, reader.tokenizer.pad_token_id)
    save(model, reader, recipe.home)
    return _accuracies(recipe)


def _accuracies(recipe: Recipe) -> dict[str, float]:
    return {name: round(share, 3) for name, share in check(recipe.home, recipe.seed).items()}


def train(
    model: Qwen2_5_VLForConditionalGeneration,
    data: TrainingSet,
    vision_steps: int,
    joint_steps: int,
    recipe: Recipe,
) -> Qwen2_5_VLForConditionalGeneration:
    """Train the vision part with the heads, then the whole model; return the averaged model."""
    heads, started, average = Heads(recipe.width), time.monotonic(), 0.0
    averaged = drawings.MovingAverage(model, EMA)
    vision = [*model.model.visual.parameters(), *heads.parameters()]
    language = [*model.model.language_model.parameters(), *model.lm_head.parameters()]
    optimizer = torch.optim.AdamW([{"params": vision}, {"params": language}], lr=RATE, weight_decay=0.03)
    rates = [
        lambda step: drawings.decay(step, vision_steps + joint_steps),
        lambda step: drawings.decay(max(0, step - vision_steps), joint_steps),
    ]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rates)
    order = drawings.batches(len(data.pixels), BATCH, vision_steps + joint_steps, recipe.seed)
    for step, rows in enumerate(order):
        with torch.autocast("cpu", torch.bfloat16):
            tokens = image_tokens(model, drawings.augment(data.pixels[rows], by=4))
            loss = heads(tokens, data.labels[rows])
            if step >= vision_steps:
                which = torch.randint(data.ids.shape[1], (len(rows),))
                ids, is_answer = data.ids[rows, which], data.is_answer[rows, which]
                longest = int(is_answer.any(0).nonzero().max()) + 1
                ids, is_answer = ids[:, :longest].long(), is_answer[:, :longest]
                states = hidden_states(model, tokens, ids)
                loss = HEADS_WEIGHT * loss + answer_loss(model, states[-1], ids, is_answer)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_([*vision, *language], 1.0)
        optimizer.step()
        schedule.step()
        averaged.update(model, step)
        average = loss.item() if step in (0, vision_steps) else 0.97 * average + 0.03 * loss.item()
        if step % 50 == 0:
            passed = time.monotonic() - started
            print(f"vlm {step}/{vision_steps + joint_steps} loss {average:.3f} {passed:.0f} s", flush=True)
    return averaged.model
