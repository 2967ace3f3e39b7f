"""The second training of a tiny VLM: to answer whether an image shows what a text claims.

Answers alone are a weak signal: one bit says that one of about ten words is wrong. During training, two additional
heads therefore read the hidden states at each word of a claim that names an object, a colour, a background or a
style. After the first layer, one head predicts what the image shows of that field; after the second, the other
predicts whether the word is wrong. The heads are discarded after training, and the vision part is not trained.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

from playground import drawings, world
from playground.vlm.conversations import prompt_ids
from playground.vlm.forward import answer_loss, hidden_states
from playground.vlm.model import END, NO, YES

BATCH, RATE = 48, 1e-3
CAPTIONS, CLAIMS = 3, 8
"""conversations per image: a caption of each length; claims, alternately true and false"""
NOT_A_VALUE = -1
VALUES = [(field, value) for field, values in world.FIELDS.items() for value in values]
_PATTERNS = {value: re.compile(rf"\b{value}\b") for _, value in VALUES if value != world.PLAIN}
_FIELD = torch.tensor([list(world.FIELDS).index(field) for field, _ in VALUES])


@dataclass(frozen=True)
class Conversation:
    """Token ids of an image, a prompt and the answer, with the targets of the heads for each token."""

    ids: list[int]
    answer_start: int
    """index of the answer's first token"""
    true_value: list[int]
    """index in VALUES of what the image shows of the field that a token names, or NOT_A_VALUE"""
    is_wrong: list[bool]
    """whether the token names another value"""


@dataclass(frozen=True)
class Batch:
    """Conversations padded at the end; all tensors are (B, L)."""

    ids: torch.Tensor
    is_answer: torch.Tensor
    true_value: torch.Tensor
    is_wrong: torch.Tensor


class Heads(nn.Module):
    """Two heads that predict, at each word, the image's value (one of VALUES) and whether the word is wrong."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.true_value = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(VALUES)))
        self.is_wrong = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, first: torch.Tensor, second: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the heads' loss on the hidden states (B, L, width) after the first and the second layer."""
        named = batch.true_value != NOT_A_VALUE
        if not bool(named.any()):
            return first.new_zeros(())
        target = batch.true_value[named]
        logits = self.true_value(first[named]).float()
        logits = logits.masked_fill(
            _FIELD[target][:, None] != _FIELD, -1e4
        )  # values of the same field compete
        wrong_logits = self.is_wrong(second[named]).squeeze(-1).float()
        return F.cross_entropy(logits, target) + 2 * F.binary_cross_entropy_with_logits(
            wrong_logits, batch.is_wrong[named].float()
        )


def converse(
    scene: world.Scene,
    reader: Qwen2_5_VLProcessor,
    instructions: Mapping[str, str],
    question: str,
    rng: np.random.Generator,
) -> list[Conversation]:
    """Return the conversations about one image: captions, true claims, and false claims."""
    conversations = []
    for length, instruction in instructions.items():
        caption = world.caption(scene, rng, length)
        conversations.append(_conversation(reader, (instruction, "", ""), caption, scene))
    before, after = question.split("{text}")
    for turn in range(CLAIMS):
        is_of_other_scene = turn % 4 == 3  # every other false claim is true of another image
        claim = world.claim(
            world.sample_scene(rng) if is_of_other_scene else scene,
            rng,
            true=turn % 2 == 0 or is_of_other_scene,
        )
        answer = NO if any(_is_wrong(value, scene) for value in _named(claim)) else YES
        conversations.append(_conversation(reader, (before, claim, after), answer, scene))
    return conversations


def _named(text: str) -> dict[str, tuple[int, int]]:
    """Return value -> span of its characters, for each value that a text names."""
    matches = {value: pattern.search(text) for value, pattern in _PATTERNS.items()}
    return {value: match.span() for value, match in matches.items() if match}


def _is_wrong(value: str, scene: world.Scene) -> bool:
    return value not in vars(scene).values()


def _conversation(
    reader: Qwen2_5_VLProcessor, prompt: tuple[str, str, str], answer: str, scene: world.Scene
) -> Conversation:
    """Return one conversation; `prompt` is the text before a claim, the claim, and the text after it."""
    gap = "\0"
    start, end = reader.tokenizer.decode(prompt_ids(reader, gap)).split(gap)
    before, claim, after = prompt
    opening = reader.tokenizer(start + before).input_ids
    middle = reader.tokenizer(claim, return_offsets_mapping=True)
    closing, answer_ids = reader.tokenizer(after + end).input_ids, reader.tokenizer(answer + END).input_ids
    true_value, is_wrong = [NOT_A_VALUE] * len(middle.input_ids), [False] * len(middle.input_ids)
    for value, (first, last) in _named(claim).items():
        field = next(field for field, values in world.FIELDS.items() if value in values)
        for index, (left, right) in enumerate(middle.offset_mapping):
            if left < last and right > first:
                true_value[index] = VALUES.index((field, getattr(scene, field)))
                is_wrong[index] = _is_wrong(value, scene)
    ids = [*opening, *middle.input_ids, *closing]
    pad = len(ids) + len(answer_ids) - len(opening) - len(true_value)
    return Conversation(
        ids=ids + answer_ids,
        answer_start=len(ids),
        true_value=[NOT_A_VALUE] * len(opening) + true_value + [NOT_A_VALUE] * pad,
        is_wrong=[False] * len(opening) + is_wrong + [False] * pad,
    )


def collate(conversations: list[Conversation], pad: int) -> Batch:
    """Return a batch of conversations, with token ids padded by `pad`."""
    width = max(len(conversation.ids) for conversation in conversations)
    is_answer = [
        [0] * c.answer_start + [1] * (len(c.ids) - c.answer_start) + [0] * (width - len(c.ids))
        for c in conversations
    ]

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    return Batch(
        ids=padded([c.ids for c in conversations], pad),
        is_answer=torch.tensor(is_answer, dtype=torch.bool),
        true_value=padded([c.true_value for c in conversations], NOT_A_VALUE),
        is_wrong=padded([[int(wrong) for wrong in c.is_wrong] for c in conversations], 0).bool(),
    )


def train(
    model: Qwen2_5_VLForConditionalGeneration,
    tokens: torch.Tensor,
    conversations: list[list[Conversation]],
    steps: int,
    seed: int,
    pad: int,
) -> None:
    """Train the language part for `steps` steps, in place.

    tokens: of the images (N, 9, width); conversations: a list per image; pad: token id of the padding.
    """
    flat = [(image, conversation) for image, group in enumerate(conversations) for conversation in group]
    heads, average = Heads(tokens.shape[-1]), 0.0
    weights = [*model.model.language_model.parameters(), *model.lm_head.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, steps))
    for step, rows in enumerate(drawings.batches(len(flat), BATCH, steps, seed)):
        picked = [flat[row] for row in rows.tolist()]
        batch = collate([conversation for _, conversation in picked], pad)
        with torch.autocast("cpu", torch.bfloat16):
            states = hidden_states(model, tokens[[image for image, _ in picked]], batch.ids)
            loss = answer_loss(model, states[-1], batch.ids, batch.is_answer)
            loss = loss + heads(states[1], states[2], batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        average = loss.item() if step == 0 else 0.97 * average + 0.03 * loss.item()
        if step % 50 == 0:
            print(f"questions {step}/{steps} loss {average:.3f}", flush=True)
