"""Forward passes of a tiny VLM in training: image tokens, hidden states, and the loss of the answers."""

from __future__ import annotations

import torch
from torch.nn import functional as F
from transformers import Qwen2_5_VLForConditionalGeneration

from playground.vlm.conversations import GRID, TOKENS, patches


def image_tokens(model: Qwen2_5_VLForConditionalGeneration, pixels: torch.Tensor) -> torch.Tensor:
    """Return the tokens (B, 9, width) of images with the given pixels (B, 3, 84, 84)."""
    grid = torch.tensor([[1, GRID, GRID]]).expand(len(pixels), -1)
    tokens = model.model.visual(patches(pixels), grid_thw=grid).pooler_output
    return torch.as_tensor(tokens).float().view(len(pixels), TOKENS, -1)


def hidden_states(
    model: Qwen2_5_VLForConditionalGeneration, tokens: torch.Tensor, ids: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """Return the hidden states (B, L, width) before the first layer and after each; the last one is normed.

    ids: conversations (B, L) about the images whose tokens (B, 9, width) are given. No mask is needed, since the
    padding is at the end and attention is causal.
    """
    is_image = ids == model.config.image_token_id
    embedded = model.get_input_embeddings()(ids).masked_scatter(is_image[..., None], tokens)
    grid = torch.tensor([[1, GRID, GRID]])
    positions, _ = model.model.get_rope_index(ids[:1], is_image[:1].int(), image_grid_thw=grid)
    positions = positions.expand(-1, len(ids), -1)  # every conversation starts with an image of this size
    output = model.model.language_model(
        inputs_embeds=embedded, position_ids=positions, output_hidden_states=True
    )
    return (*output.hidden_states[:-1], output.last_hidden_state)


def answer_loss(
    model: Qwen2_5_VLForConditionalGeneration,
    last_states: torch.Tensor,
    ids: torch.Tensor,
    is_answer: torch.Tensor,
) -> torch.Tensor:
    """Return the cross entropy of the answers, with mask `is_answer` (B, L), given the last states (B, L, width).

    Every conversation has the same weight, whatever the length of its answer.
    """
    answer = is_answer[:, 1:]
    logits = model.lm_head(last_states[:, :-1][answer])
    losses = F.cross_entropy(logits.float(), ids[:, 1:][answer], reduction="none")
    share = (answer / answer.sum(1, keepdim=True))[answer] / len(ids)
    return (losses * share).sum()
