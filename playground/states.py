"""Running a tiny VLM in training: pictures to tokens, conversations to hidden states, those to the loss."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration

from playground.lessons import GRID, TOKENS, patches


def look(model: Qwen2_5_VLForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Turn pixels (B, 3, 84, 84) into the pictures' tokens (B, 9, width)."""
    grid = torch.tensor([[1, GRID, GRID]]).expand(len(pixels), -1)
    tokens = model.model.visual(patches(pixels), grid_thw=grid).pooler_output
    return torch.as_tensor(tokens).float().view(len(pixels), TOKENS, -1)


def think(
    model: Qwen2_5_VLForConditionalGeneration, tokens: torch.Tensor, ids: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return the hidden states (B, L, width), before the first layer and after each, the last one normed.

    ids (B, L) hold conversations about the pictures whose tokens (B, 9, width) are given.  Padding
    stands at the end and attention only looks back, so it needs no mask.
    """
    pictures = ids == model.config.image_token_id
    embedded = model.get_input_embeddings()(ids).masked_scatter(pictures[..., None], tokens)
    grid = torch.tensor([[1, GRID, GRID]])
    places, _ = model.model.get_rope_index(ids[:1], pictures[:1].int(), image_grid_thw=grid)
    places = places.expand(-1, len(ids), -1)  # every conversation starts with a picture of this size
    thought = model.model.language_model(
        inputs_embeds=embedded, position_ids=places, output_hidden_states=True
    )
    return (*thought.hidden_states[:-1], thought.last_hidden_state)


def told_loss(
    model: Qwen2_5_VLForConditionalGeneration, hidden: torch.Tensor, ids: torch.Tensor, told: torch.Tensor
) -> torch.Tensor:
    """Return the cross entropy of what is told (B, L) given the last hidden states (B, L, width).

    Every conversation counts the same, however long its answer.
    """
    answer = told[:, 1:]
    logits = model.lm_head(hidden[:, :-1][answer])
    losses = F.cross_entropy(logits.float(), ids[:, 1:][answer], reduction="none")
    share = (answer / answer.sum(1, keepdim=True))[answer] / len(ids)
    return (losses * share).sum()
