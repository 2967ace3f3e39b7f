"""The tiny CLIP: a transformers CLIPModel, contrastive on the whole world.

Linear heads that name object, colour, background and style from either embedding help the
small batches along; they are dropped after training.
"""

from __future__ import annotations

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

HOME = Path(__file__).parent / "models" / "clip"
WIDTH = 128
DRAWINGS, BATCH, STEPS, RATE = 9000, 96, 1150, 1e-3
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

FIELDS: dict[str, tuple[str, ...]] = {
    "object": world.OBJECTS,
    "colour": tuple(world.COLOURS),
    "background": world.BACKGROUNDS,
    "style": (world.PLAIN, *world.STYLES),
}


def config(tokenizer: CLIPTokenizer) -> CLIPConfig:
    """Describe the model: two towers of width 128, four heads, three layers."""
    tower = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    }
    words = CLIPTextConfig(
        **tower,
        vocab_size=len(tokenizer),
        max_position_embeddings=text.LENGTH,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    pixels = CLIPVisionConfig(**tower, image_size=world.SIZE, patch_size=8, projection_dim=WIDTH)
    return CLIPConfig(text_config=words.to_dict(), vision_config=pixels.to_dict(), projection_dim=WIDTH)


def targets(scenes: list[world.Scene]) -> torch.Tensor:
    """Number each scene's object, colour, background and style: (N, 4)."""
    rows = [[names.index(getattr(s, f)) for f, names in FIELDS.items()] for s in scenes]
    return torch.tensor(rows)


class Heads(nn.Module):
    """One linear classifier a field, on an embedding (B, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.fields = nn.ModuleList(nn.Linear(WIDTH, len(names)) for names in FIELDS.values())

    def forward(self, embedding: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the summed cross entropy against targets (B, 4)."""
        losses = [F.cross_entropy(h(embedding), target[:, i]) for i, h in enumerate(self.fields)]
        return torch.stack(losses).sum()


def contrast(image: torch.Tensor, words: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return the symmetric contrastive loss of paired unit rows (B, 128)."""
    logits = scale.exp().clamp(max=100) * image @ words.T
    goal = torch.arange(len(logits))
    return (F.cross_entropy(logits, goal) + F.cross_entropy(logits.T, goal)) / 2


def build(scale: float, seed: int) -> dict[str, float]:
    """Train the CLIP for `scale` times its steps and save it; return its final losses."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    steps = max(2, round(STEPS * scale))
    pixels, scenes = drawings.render(max(200, round(DRAWINGS * min(1, scale))), seed)
    tokenizer = text.clip_tokenizer()
    ids = torch.stack([text.encode(tokenizer, text.captions(scenes, rng)) for _ in range(3)], 1)
    model = CLIPModel(config(tokenizer))
    loss = _train(model, pixels, ids, targets(scenes), steps, seed)
    save(model, tokenizer)
    return {"loss": loss, **check(model, tokenizer, seed + 1)}


def _train(
    model: CLIPModel,
    pixels: torch.Tensor,
    ids: torch.Tensor,
    target: torch.Tensor,
    steps: int,
    seed: int,
) -> float:
    heads, average = Heads(), 0.0
    weights = [*model.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: drawings.decay(s, steps))
    for step, rows in enumerate(drawings.batches(len(pixels), BATCH, steps, seed)):
        pick = ids[rows, torch.randint(ids.shape[1], (len(rows),))]
        image = _features(model.get_image_features(pixel_values=drawings.signed(pixels[rows])))
        words = _features(model.get_text_features(input_ids=pick))
        loss = contrast(F.normalize(image), F.normalize(words), model.logit_scale)
        loss = loss + 0.5 * heads(image, target[rows]) + 0.2 * heads(words, target[rows])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        average = loss.item() if step == 0 else 0.95 * average + 0.05 * loss.item()
        if step % 50 == 0:
            print(f"clip {step}/{steps} loss {average:.3f}", flush=True)
    return average


def _features(output: object) -> torch.Tensor:
    """Return the projected embedding (B, 128) that get_*_features wraps."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output  # type: ignore[attr-defined]


def save(model: CLIPModel, tokenizer: CLIPTokenizer) -> None:
    """Save the model in bf16 with its tokenizer and image processor."""
    HOME.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(HOME)
    model.float()
    tokenizer.save_pretrained(HOME)
    square = {"height": world.SIZE, "width": world.SIZE}
    CLIPImageProcessor(
        size=square, crop_size=square, do_center_crop=False, image_mean=MEAN, image_std=STD
    ).save_pretrained(HOME)


def load() -> tuple[CLIPModel, CLIPTokenizer]:
    """Load the saved model in float32, in eval mode, and its tokenizer."""
    model = CLIPModel.from_pretrained(HOME, dtype=torch.float32).eval()
    return model, CLIPTokenizer.from_pretrained(HOME)


@torch.no_grad()
def name(model: CLIPModel, tokenizer: CLIPTokenizer, pixels: torch.Tensor, field: str) -> list[str]:
    """Name one field of drawings (N, 3, 64, 64; uint8) zero-shot, by the nearest caption.

    Each value's text embedding is the mean over captions that vary everything else.
    """
    names = FIELDS[field]
    rng = np.random.default_rng(0)
    anchors = torch.stack([_anchor(model, tokenizer, field, value, rng) for value in names])
    image = _features(model.get_image_features(pixel_values=drawings.signed(pixels)))
    best = (F.normalize(image) @ anchors.T).argmax(1)
    return [names[i] for i in best.tolist()]


def _anchor(
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
    for field in FIELDS:
        named = name(model, tokenizer, pixels, field)
        right = [getattr(s, field) == n for s, n in zip(scenes, named, strict=True)]
        scores[f"zero_shot_{field}"] = round(sum(right) / len(right), 3)
    return scores
