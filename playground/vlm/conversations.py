"""The first training set of a tiny VLM: degraded drawings as patches, and conversations as token ids.

For each drawing there are captions of each length, and true and false claims to answer with yes or no. All drawings
and texts are created before training starts; each batch only augments the images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode  # type: ignore[import-untyped]  # has no stubs
from torchvision.transforms.v2 import functional as tvF
from transformers import Qwen2_5_VLProcessor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from playground import drawings, world
from playground.vlm.model import END, MERGE, NO, PATCH, SIDE, YES

GRID = SIDE // PATCH
"""patches per side of an image"""
TOKENS = (GRID // MERGE) ** 2
"""tokens per image"""
CAPTIONS, QUESTIONS = 2, 2
"""per image: captions of each length; questions of each answer"""


@dataclass(frozen=True)
class TrainingSet:
    """Images, their labels, and conversations about them."""

    pixels: torch.Tensor
    """uint8 (N, 3, 84, 84)"""
    labels: torch.Tensor
    """indices of object, colour, background and style (N, 4)"""
    ids: torch.Tensor
    """token ids of image, instruction and answer (N, V, L): V conversations per image, padded at the end"""
    is_answer: torch.Tensor
    """mask of the tokens of the answer (N, V, L)"""


def make_training_set(
    count: int, reader: Qwen2_5_VLProcessor, instructions: Mapping[str, str], question: str, seed: int
) -> TrainingSet:
    """Return `count` drawings, each with CAPTIONS captions of each length and QUESTIONS questions of each answer.

    `question` asks whether an image shows `{text}`.
    """
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(count)]
    pixels = drawings.render_scenes(scenes, rng, degraded=True)
    dialogs = [[*_dialogs(scene, instructions, question, rng)] for scene in scenes]
    ids, is_answer = _tokenize(dialogs, reader)
    return TrainingSet(enlarge(pixels), torch.from_numpy(world.label_indices(scenes)), ids, is_answer)


def _dialogs(
    scene: world.Scene, instructions: Mapping[str, str], question: str, rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """Yield instructions or questions about an image, each with its answer."""
    for length, instruction in [*instructions.items()] * CAPTIONS:
        yield instruction, world.caption(scene, rng, length)
    for _ in range(QUESTIONS):
        yield question.format(text=world.claim(scene, rng)), YES
        yield question.format(text=world.claim(scene, rng, true=False)), NO


def prompt_ids(reader: Qwen2_5_VLProcessor, instruction: str) -> list[int]:
    """Return the token ids of an image with an instruction, up to the start of the answer."""
    content = [{"type": "image"}, {"type": "text", "text": instruction}]
    text = reader.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ids: list[int] = reader.tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * TOKENS)).input_ids
    return ids


def _tokenize(
    dialogs: list[list[tuple[str, str]]], reader: Qwen2_5_VLProcessor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the conversations' token ids and the mask of their answers, both (N, V, L)."""
    gap = "\0"
    before, after = reader.tokenizer.decode(prompt_ids(reader, gap)).split(gap)
    flat = [(before + prompt + after, answer + END) for dialog in dialogs for prompt, answer in dialog]
    prompts = reader.tokenizer([prompt for prompt, _ in flat]).input_ids
    answers = reader.tokenizer([answer for _, answer in flat]).input_ids
    width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    ids = torch.full((len(flat), width), reader.tokenizer.pad_token_id, dtype=torch.int32)
    is_answer = torch.zeros(len(flat), width, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        is_answer[row, len(prompt) : len(prompt) + len(answer)] = True
    shape = (len(dialogs), len(dialogs[0]), width)
    return ids.view(shape), is_answer.view(shape)


def enlarge(pixels: torch.Tensor) -> torch.Tensor:
    """Return uint8 pixels (N, 3, 64, 64) enlarged to (N, 3, 84, 84), as the processor does it."""
    return torch.as_tensor(tvF.resize(pixels, [SIDE, SIDE], InterpolationMode.BICUBIC, antialias=True))


def patches(pixels: torch.Tensor) -> torch.Tensor:
    """Return pixels (N, 3, 84, 84; 0 to 255) as the processor's flat patches (N * 36, 1176)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    image = (pixels.float() / 255 - mean) / std
    coarse = GRID // MERGE
    cut = image.view(-1, 3, coarse, MERGE, PATCH, coarse, MERGE, PATCH).permute(0, 2, 5, 3, 6, 1, 4, 7)
    frames = cut.unsqueeze(6).expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)  # an image is two equal video frames
    return frames.reshape(len(pixels) * GRID * GRID, -1)
