"""The second lesson of a tiny VLM: to say whether a picture shows what a text claims.

Answers alone teach this badly: one bit says that somewhere among ten words one is wrong.  So while it
learns, two heads read what the model thinks at each word of a claim that names an object, a colour, a
background or a style: after its first layer, what the picture shows of that kind; after its second,
whether the word is wrong.  The heads are dropped after training.  The pictures' part stays as it is.
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
from playground.lessons import END, NO, YES, prompt_ids
from playground.states import think, told_loss

BATCH, RATE = 48, 1e-3
CAPTIONS, CLAIMS = 3, 8  # conversations a picture: a caption of each length; true, false by turns
NOT_A_VALUE = -1
VALUES = [(field, value) for field, values in world.FIELDS.items() for value in values]
_PATTERNS = {value: re.compile(rf"\b{value}\b") for _, value in VALUES if value != world.PLAIN}
_FIELD = torch.tensor([list(world.FIELDS).index(field) for field, _ in VALUES])


@dataclass(frozen=True)
class Conversation:
    """Token ids of a picture, what is asked and the answer, and what the heads shall find at each token."""

    ids: list[int]
    told: int
    """place of the answer's first token"""
    shown: list[int]
    """number of what the picture shows of the kind that a token names, or NOT_A_VALUE"""
    wrong: list[bool]
    """whether it names something else"""


@dataclass(frozen=True)
class Batch:
    """Conversations padded at the end: ids, answer, shown and wrong are (B, L)."""

    ids: torch.Tensor
    answer: torch.Tensor
    shown: torch.Tensor
    wrong: torch.Tensor


class Heads(nn.Module):
    """What the model thinks at each word: the picture's value, out of all, and whether the word is wrong."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shown = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(VALUES)))
        self.wrong = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, first: torch.Tensor, second: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the heads' loss on hidden states (B, L, width) after the first and the second layer."""
        named = batch.shown != NOT_A_VALUE
        if not bool(named.any()):
            return first.new_zeros(())
        goal = batch.shown[named]
        logits = self.shown(first[named]).float()
        logits = logits.masked_fill(_FIELD[goal][:, None] != _FIELD, -1e4)  # of one kind only
        doubt = self.wrong(second[named]).squeeze(-1).float()
        return F.cross_entropy(logits, goal) + 2 * F.binary_cross_entropy_with_logits(
            doubt, batch.wrong[named].float()
        )


def converse(
    scene: world.Scene,
    read: Qwen2_5_VLProcessor,
    instructions: Mapping[str, str],
    question: str,
    rng: np.random.Generator,
) -> list[Conversation]:
    """Write what is asked about one picture: captions, claims that hold, claims that do not."""
    talks = []
    for length, instruction in instructions.items():
        talks.append(_conversation(read, (instruction, "", ""), world.caption(scene, rng, length), scene))
    before, after = question.split("{text}")
    for turn in range(CLAIMS):
        stranger = turn % 4 == 3  # every other false claim is true of another picture
        claim = world.claim(
            world.sample_scene(rng) if stranger else scene, rng, true=turn % 2 == 0 or stranger
        )
        answer = NO if any(_wrong(value, scene) for value in _named(claim)) else YES
        talks.append(_conversation(read, (before, claim, after), answer, scene))
    return talks


def _named(text: str) -> dict[str, tuple[int, int]]:
    """Return the values that a text names and where."""
    found = {value: pattern.search(text) for value, pattern in _PATTERNS.items()}
    return {value: match.span() for value, match in found.items() if match}


def _wrong(value: str, scene: world.Scene) -> bool:
    return value not in vars(scene).values()


def _conversation(
    read: Qwen2_5_VLProcessor, asked: tuple[str, str, str], answer: str, scene: world.Scene
) -> Conversation:
    """Write one conversation; `asked` is what stands before a claim, the claim, and what stands after it."""
    gap = "\0"
    start, end = read.tokenizer.decode(prompt_ids(read, gap)).split(gap)
    before, claim, after = asked
    opening = read.tokenizer(start + before).input_ids
    middle = read.tokenizer(claim, return_offsets_mapping=True)
    closing, told = read.tokenizer(after + end).input_ids, read.tokenizer(answer + END).input_ids
    shown, wrong = [NOT_A_VALUE] * len(middle.input_ids), [False] * len(middle.input_ids)
    for value, (first, last) in _named(claim).items():
        field = next(field for field, values in world.FIELDS.items() if value in values)
        for place, (left, right) in enumerate(middle.offset_mapping):
            if left < last and right > first:
                shown[place] = VALUES.index((field, getattr(scene, field)))
                wrong[place] = _wrong(value, scene)
    ids = [*opening, *middle.input_ids, *closing]
    pad = len(ids) + len(told) - len(opening) - len(shown)
    return Conversation(
        ids=ids + told,
        told=len(ids),
        shown=[NOT_A_VALUE] * len(opening) + shown + [NOT_A_VALUE] * pad,
        wrong=[False] * len(opening) + wrong + [False] * pad,
    )


def gather(talks: list[Conversation], pad: int) -> Batch:
    """Pad conversations to one length."""
    width = max(len(talk.ids) for talk in talks)
    answer = [[0] * t.told + [1] * (len(t.ids) - t.told) + [0] * (width - len(t.ids)) for t in talks]

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    return Batch(
        ids=padded([talk.ids for talk in talks], pad),
        answer=torch.tensor(answer, dtype=torch.bool),
        shown=padded([talk.shown for talk in talks], NOT_A_VALUE),
        wrong=padded([[int(w) for w in talk.wrong] for talk in talks], 0).bool(),
    )


def train(
    model: Qwen2_5_VLForConditionalGeneration,
    tokens: torch.Tensor,
    talks: list[list[Conversation]],
    steps: int,
    seed: int,
    pad: int,
) -> None:
    """Train the words' part for `steps` steps, in place; tokens are the pictures' (N, 9, width)."""
    flat = [(place, talk) for place, talks_of_one in enumerate(talks) for talk in talks_of_one]
    heads, average = Heads(tokens.shape[-1]), 0.0
    weights = [*model.model.language_model.parameters(), *model.lm_head.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.03)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: drawings.decay(s, steps))
    for step, rows in enumerate(drawings.batches(len(flat), BATCH, steps, seed)):
        picked = [flat[row] for row in rows.tolist()]
        batch = gather([talk for _, talk in picked], pad)
        with torch.autocast("cpu", torch.bfloat16):
            states = think(model, tokens[[place for place, _ in picked]], batch.ids)
            loss = told_loss(model, states[-1], batch.ids, batch.answer) + heads(states[1], states[2], batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        average = loss.item() if step == 0 else 0.97 * average + 0.03 * loss.item()
        if step % 50 == 0:
            print(f"questions {step}/{steps} loss {average:.3f}", flush=True)
