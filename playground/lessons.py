"""What a tiny VLM learns from: spoilt drawings as patches, questions and answers as token ids.

It is asked for a caption of each length, and whether a picture shows what a text says.  Everything
is drawn and written before training starts; a batch then only shakes the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tvF
from transformers import Qwen2_5_VLProcessor
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from playground import drawings, world

PATCH, MERGE, SIDE = 14, 2, 84  # pixels of a patch, patches of a token's side, pixels that 64 become
GRID = SIDE // PATCH
TOKENS = (GRID // MERGE) ** 2  # of one picture
END = "<|im_end|>"
YES, NO = "yes", "no"
CAPTIONS, QUESTIONS = 2, 2  # of each length, and of each answer, a picture


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


def lessons(
    count: int, read: Qwen2_5_VLProcessor, instructions: Mapping[str, str], question: str, seed: int
) -> Lessons:
    """Draw `count` scenes; write two captions of each length and two questions of each answer for each.

    `question` asks whether a picture shows `{text}`.
    """
    rng = np.random.default_rng(seed)
    scenes = [world.sample_scene(rng) for _ in range(count)]
    pixels = drawings.render_scenes(scenes, rng, spoilt=True)
    talks = [[*_talks(scene, instructions, question, rng)] for scene in scenes]
    ids, told = _write(talks, read)
    return Lessons(enlarge(pixels), torch.from_numpy(world.number(scenes)), ids, told)


def _talks(
    scene: world.Scene, instructions: Mapping[str, str], question: str, rng: np.random.Generator
) -> Iterator[tuple[str, str]]:
    """Yield what is asked about a picture, and the answer."""
    for length, instruction in [*instructions.items()] * CAPTIONS:
        yield instruction, world.caption(scene, rng, length)
    for _ in range(QUESTIONS):
        yield question.format(text=world.claim(scene, rng)), YES
        yield question.format(text=world.claim(scene, rng, true=False)), NO


def prompt_ids(read: Qwen2_5_VLProcessor, instruction: str) -> list[int]:
    """Return the token ids of a picture with an instruction, up to where the answer starts."""
    content = [{"type": "image"}, {"type": "text", "text": instruction}]
    text = read.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    ids: list[int] = read.tokenizer(text.replace("<|image_pad|>", "<|image_pad|>" * TOKENS)).input_ids
    return ids


def _write(
    talks: list[list[tuple[str, str]]], read: Qwen2_5_VLProcessor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the conversations' ids and which are the answers', both (N, V, L)."""
    gap = "\0"
    before, after = read.tokenizer.decode(prompt_ids(read, gap)).split(gap)
    flat = [(before + asked + after, answer + END) for talk in talks for asked, answer in talk]
    prompts = read.tokenizer([prompt for prompt, _ in flat]).input_ids
    answers = read.tokenizer([answer for _, answer in flat]).input_ids
    width = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
    ids = torch.full((len(flat), width), read.tokenizer.pad_token_id, dtype=torch.int32)
    told = torch.zeros(len(flat), width, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        told[row, len(prompt) : len(prompt) + len(answer)] = True
    shape = (len(talks), len(talks[0]), width)
    return ids.view(shape), told.view(shape)


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
