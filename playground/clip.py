"""The tiny CLIPs: transformers CLIPModels, trained contrastively on the whole drawn world.

Linear heads that predict object, colour, background and style from either embedding support the training, whose
batches are small; they are discarded after it. The judge has another width and another seed, and is trained on other
drawings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextConfig,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from playground import drawings, text, world

MODELS = Path(__file__).parent / "models"
BATCH, RATE, EMA = 96, 1e-3, 0.995
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
WIDTH = 128  # of MAIN, whose text tower is also FLUX's text encoder


@dataclass(frozen=True)
class Recipe:
    """One CLIP: its folder, its size, and its training."""

    home: Path
    width: int
    layers: int
    drawings: int
    steps: int
    seed: int


MAIN = Recipe(MODELS / "clip", WIDTH, layers=3, drawings=16000, steps=2000, seed=20260101)
JUDGE = Recipe(MODELS / "judges" / "clip", 96, layers=4, drawings=12000, steps=3000, seed=31)


def config(tokenizer: CLIPTokenizer, width: int, layers: int) -> CLIPConfig:
    """Return the configuration: two towers of the given width and number of layers, with four heads."""
    tower = {
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
    }
    words = CLIPTextConfig(
        **tower,
        vocab_size=len(tokenizer),
        max_position_embeddings=text.LENGTH,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    pixels = CLIPVisionConfig(**tower, image_size=world.SIZE, patch_size=8, projection_dim=width)
    return CLIPConfig(text_config=words.to_dict(), vision_config=pixels.to_dict(), projection_dim=width)


class Heads(nn.Module):
    """One linear classifier per field, on an embedding (B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fields = nn.ModuleList(nn.Linear(width, len(names)) for names in world.FIELDS.values())

    def forward(self, embedding: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the sum over fields of the cross entropies against targets (B, 4)."""
        losses = [F.cross_entropy(h(embedding), target[:, i]) for i, h in enumerate(self.fields)]
        return torch.stack(losses).sum()


def contrastive_loss(image: torch.Tensor, words: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the symmetric contrastive loss of paired unit vectors (B, width)."""
    logits = scale.exp().clamp(max=100) * image @ words.T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def build(recipe: Recipe, scale: float) -> dict[str, float]:
    """Train a CLIP for `scale` times its steps and save it; return its loss and its zero-shot accuracies."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    count = max(200, round(recipe.drawings * min(1, scale)))
    pixels, scenes = drawings.render(count, recipe.seed, degraded=True)
    tokenizer = text.clip_tokenizer()
    ids = torch.stack([text.encode(tokenizer, text.captions(scenes, rng)) for _ in range(4)], 1)
    model = CLIPModel(config(tokenizer, recipe.width, recipe.layers))
    steps = max(2, round(recipe.steps * scale))
    averaged, loss = _train(model, pixels, ids, torch.from_numpy(world.label_indices(scenes)), steps, recipe)
    save(averaged, tokenizer, recipe.home)
    return {"loss": loss, **check(averaged, tokenizer, recipe.seed + 1)}


def _train(
    model: CLIPModel,
    pixels: torch.Tensor,
    ids: torch.Tensor,
    target: torch.Tensor,
    steps: int,
    recipe: Recipe,
) -> tuple[CLIPModel, float]:
    heads, average = Heads(recipe.width), 0.0
    averaged = drawings.MovingAverage(model, EMA)
    weights = [*model.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, steps))
    for step, rows in enumerate(drawings.batches(len(pixels), BATCH, steps, recipe.seed)):
        captions = ids[rows, torch.randint(ids.shape[1], (len(rows),))]
        augmented = drawings.augment(pixels[rows], by=3) / 127.5 - 1
        with drawings.precision():
            image = _features(model.get_image_features(pixel_values=augmented)).float()
            words = _features(model.get_text_features(input_ids=captions)).float()
        loss = contrastive_loss(F.normalize(image), F.normalize(words), model.logit_scale)
        loss = loss + 0.5 * heads(image, target[rows]) + 0.2 * heads(words, target[rows])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        averaged.update(model, step)
        average = loss.item() if step == 0 else 0.95 * average + 0.05 * loss.item()
        if step % 50 == 0:
            print(f"clip {step}/{steps} loss {average:.3f}", flush=True)
    return averaged.model, average


def _features(output: object) -> torch.Tensor:
    """Return the projected embedding (B, width) in the output of get_*_features."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output  # type: ignore[attr-defined]  # releases differ


def save(model: CLIPModel, tokenizer: CLIPTokenizer, home: Path) -> None:
    """Save the model in bf16 with its tokenizer and image processor."""
    home.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(home)
    model.float()
    tokenizer.save_pretrained(home)
    square = {"height": world.SIZE, "width": world.SIZE}
    CLIPImageProcessor(
        size=square, crop_size=square, do_center_crop=False, image_mean=MEAN, image_std=STD
    ).save_pretrained(home)


def load(home: Path = MAIN.home) -> tuple[CLIPModel, CLIPTokenizer]:
    """Return a saved model, in float32 and eval mode, and its tokenizer."""
    model = CLIPModel.from_pretrained(home, dtype=torch.float32).eval()
    return model, CLIPTokenizer.from_pretrained(home)


@torch.no_grad()
def classify(model: CLIPModel, tokenizer: CLIPTokenizer, pixels: torch.Tensor, field: str) -> list[str]:
    """Return the zero-shot prediction of one field of drawings (N, 3, 64, 64; uint8).

    The text embedding of each value is the mean over captions in which all other fields vary.
    """
    values = world.FIELDS[field]
    rng = np.random.default_rng(0)
    embeddings = torch.stack([_value_embedding(model, tokenizer, field, value, rng) for value in values])
    image = _features(model.get_image_features(pixel_values=drawings.to_signed(pixels)))
    best = (F.normalize(image) @ embeddings.T).argmax(1)
    return [values[i] for i in best.tolist()]


def _value_embedding(
    model: CLIPModel, tokenizer: CLIPTokenizer, field: str, value: str, rng: np.random.Generator
) -> torch.Tensor:
    scenes = [world.Scene(**{**vars(world.sample_scene(rng)), field: value}) for _ in range(96)]
    ids = text.encode(tokenizer, text.captions(scenes, rng, filler=0.0))
    words = F.normalize(_features(model.get_text_features(input_ids=ids)))
    return F.normalize(words.mean(0), dim=0)


def check(model: CLIPModel, tokenizer: CLIPTokenizer, seed: int) -> dict[str, float]:
    """Return the zero-shot accuracy by field on 400 fresh drawings."""
    pixels, scenes = drawings.render(400, seed)
    model.eval()
    scores = {}
    for field in world.FIELDS:
        predicted = classify(model, tokenizer, pixels, field)
        is_right = [getattr(s, field) == value for s, value in zip(scenes, predicted, strict=True)]
        scores[f"zero_shot_{field}"] = round(sum(is_right) / len(is_right), 3)
    return scores
