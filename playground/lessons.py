"""What the tiny VLM learns from: spoilt drawings as patches, questions and answers as token ids.

Everything is drawn and written before training starts; a batch then only shakes the pictures.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvF
from transformers import Qwen2_5_VLProcessor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from playground import drawings, world

PATCH, MERGE, SIDE = 14, 2, 84  # pixels of a patch, patches of a token's side, pixels that 64 become
GRID = SIDE // PATCH
TOKENS = (GRID // MERGE) ** 2  # of one picture
END = "<|im_end|>"

FIELDS: dict[str, tuple[str, ...]] = {
    "object": world.OBJECTS,
    "colour": tuple(world.COLOURS),
    "background": world.BACKGROUNDS,
    "style": (world.PLAIN, *world.STYLES),
}


@dataclass(frozen=True)
class Lessons:
    """Pictures, what they show, and conversations about them."""

    pixels: torch.Tensor
    """uint8 (N, 3, 84, 84)"""
    fields: torch.Tensor
    """numbers of object, colour, background and style (N, 4)"""
    ids: torch.Tensor
    """token ids of picture, instruction and answer (N, V, L): V variants, padded at the end"""
    told: torch.Tensor
    """which of them are the answer's (N, V, L)"""


def lessons(count: int, read: Qwen2_5_VLProcessor, instructions: Mapping[str, str], seed: int) -> Lessons:
    """Draw `count` scenes and write two captions of each length for each."""
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(count)]
    images = [spoil(world.draw(scene, rng), rng) for scene in scenes]
    prompts = {length: prompt_ids(read, text) for length, text in instructions.items()}
    ids, told = _write(scenes, prompts, read, rng)
    return Lessons(
        pixels=enlarge(torch.stack([drawings.to_tensor(image) for image in images])),
        fields=torch.tensor([[names.index(getattr(s, f)) for f, names in FIELDS.items()] for s in scenes]),
        ids=ids,
        told=told,
    )


def prompt_ids(read: Qwen2_5_VLProcessor, instruction: str) -> list[int]:
    """Return the token ids of a picture with an instruction, up to where the answer starts."""
    content = [{"type": "image"}, {"type": "text", "text": instruction}]
    text = read.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ids: list[int] = read.tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * TOKENS)).input_ids
    return ids


def _write(
    scenes: list[world.Scene],
    prompts: Mapping[str, list[int]],
    read: Qwen2_5_VLProcessor,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the conversations' ids and which are the answers', both (N, 2 * lengths, L)."""
    asked = [*prompts.items()] * 2
    answers = [world.caption(scene, rng, length) + END for scene in scenes for length, _ in asked]
    pairs = list(zip([p for _, p in asked] * len(scenes), read.tokenizer(answers).input_ids, strict=True))
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.full((len(pairs), width), read.tokenizer.pad_token_id)
    told = torch.zeros(len(pairs), width, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        told[row, len(prompt) : len(prompt) + len(answer)] = True
    return ids.view(len(scenes), len(asked), width), told.view(len(scenes), len(asked), width)


def enlarge(pixels: torch.Tensor) -> torch.Tensor:
    """Enlarge uint8 pixels (N, 3, 64, 64) to (N, 3, 84, 84) as the processor does."""
    return torch.as_tensor(tvF.resize(pixels, [SIDE, SIDE], InterpolationMode.BICUBIC, antialias=True))


def patches(pixels: torch.Tensor) -> torch.Tensor:
    """Cut pixels (N, 3, 84, 84; 0 to 255) into the processor's flat patches (N * 36, 1176)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    image = (pixels.float() / 255 - mean) / std
    coarse = GRID // MERGE
    cut = image.view(-1, 3, coarse, MERGE, PATCH, coarse, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    frames = cut.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)  # a still picture is two equal frames
    return frames.reshape(len(pixels) * GRID * GRID, -1)


def spoil(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur an image or save it as JPEG, each now and then: pictures that a small model makes look so."""
    if rng.random() < 0.35:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0)))
    if rng.random() < 0.25:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(rng.integers(40, 95)))
        image = Image.open(stream).convert("RGB")
    return image


def shake(pixels: torch.Tensor) -> torch.Tensor:
    """Mirror half of the pictures (N, 3, 84, 84), move all by up to 4 pixels, add a little noise."""
    mirrored = torch.where(torch.rand(len(pixels), 1, 1, 1) < 0.5, pixels.flip(3), pixels)
    padded = F.pad(mirrored.float(), (4, 4, 4, 4), mode="replicate")
    starts = torch.randint(9, (len(pixels), 2)).tolist()
    moved = [image[:, y : y + SIDE, x : x + SIDE] for image, (y, x) in zip(padded, starts, strict=True)]
    noise = torch.rand(len(pixels), 1, 1, 1).pow(2) * 14 * torch.randn(pixels.shape)
    return (torch.stack(moved) + noise).clamp(0, 255)
