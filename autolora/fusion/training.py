"""Interference-resistant training of the gates (Eq. 10): one adapter's pictures with a stranger loaded.

The released code adds max(0, h - the loss of the same pictures under the stranger's caption): `hinge` is h.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora.errors import MissingArtifact
from autolora.fusion.gate import Gates
from autolora.fusion.install import fused
from autolora.lora.factors import Lora
from autolora.params import FusionParams
from autolora.presets import FUSION, resolve

Progress = Callable[[int, int, float], None]
"""gets steps done, steps in all, and the loss of the step"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Example:
    """One adapter's pictures and captions, encoded once; on the CPU."""

    sha256: str
    family: str
    latents: Tensor
    """(P, T, C): packed latents x0 of its pictures"""
    states: Tensor
    """(N, L, D): T5 states of its captions"""
    pooled: Tensor
    """(N, d): CLIP features of its captions"""
    picture: Tensor
    """(N,): which picture a caption describes"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Noised pictures of one adapter, on the transformer's device."""

    noised: Tensor
    """(B, T, C): x_t = (1 - σ) x0 + σ ε"""
    velocity: Tensor
    """(B, T, C): ε - x0"""
    sigma: Tensor
    """(B,): noise level, 0 to 1"""
    states: Tensor
    """(B, L, D)"""
    pooled: Tensor
    """(B, d)"""


def fit(
    gates: Gates,
    transformer: Any,
    examples: Sequence[Example],
    lora_of: Callable[[str], Lora],
    sigmas: Tensor,
    params: FusionParams,
    progress: Progress,
    blank: tuple[Tensor, Tensor],
) -> list[float]:
    """Train the gates in place and return each step's loss; nothing else learns.

    sigmas: (S,), the noise levels that steps draw from. lora_of: an adapter's updates by its sha256.
    blank: states (1, L, D) and features (1, d) of no caption.
    Deterministic by params.seed. Raises MissingArtifact when there are no two families to tell apart.
    """
    if len({example.family for example in examples}) < 2:
        raise MissingArtifact(
            "the gates need training adapters of two or more families, with captioned pictures: "
            "check data/training.jsonl and run `dvc repro captions dataset`, or move dataset.train_until"
        )
    form = resolve(FUSION, params)
    draw = torch.Generator().manual_seed(params.seed)
    optimizer = torch.optim.Adam(gates.parameters(), lr=params.learning_rate, fused=True)
    losses = []
    for step in range(params.steps):
        target, others = _pick(examples, form.single_share, draw)
        batch = _batch(target, target, sigmas, params.batch, draw, transformer.device)
        if form.caption_dropout and float(torch.rand((), generator=draw)) < form.caption_dropout:
            batch = _without_caption(batch, blank)
        relevance = _relevance(len(others), params, draw)
        loras = [lora_of(example.sha256) for example in (target, *others)]
        optimizer.zero_grad()
        with fused(transformer, loras, gates=gates, relevance=relevance):
            loss = _error(transformer, batch, params.guidance)
            loss.backward()  # type: ignore[no-untyped-call]  # within `fused`: checkpointing runs the hooks again
        if form.hinge and others:
            other = _batch(target, others[0], sigmas, params.batch, draw, transformer.device)
            with fused(transformer, loras, gates=gates, relevance=relevance.flip(0)):
                disturbed = (form.hinge - _error(transformer, other, params.guidance)).clamp_min(0)
                disturbed.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach() + disturbed.detach()
        optimizer.step()
        losses.append(loss.item())
        progress(step + 1, params.steps, losses[-1])
    return losses


def _pick(
    examples: Sequence[Example], single_share: float, draw: torch.Generator
) -> tuple[Example, tuple[Example, ...]]:
    """Draw the target and, in most steps, one adapter of another family to interfere."""
    target = examples[_below(len(examples), draw)]
    if float(torch.rand((), generator=draw)) < single_share:
        return target, ()
    strangers = [example for example in examples if example.family != target.family]
    return target, (strangers[_below(len(strangers), draw)],)


def _batch(
    example: Example,
    speaker: Example,
    sigmas: Tensor,
    size: int,
    draw: torch.Generator,
    device: torch.device,
) -> Batch:
    """Draw captions with replacement, each with its picture, a noise level and noise of its own.

    speaker: whose captions stand beside the pictures; a stranger's belong to none of them.
    """
    chosen = torch.randint(len(example.picture), (size,), generator=draw)
    sigma = sigmas[torch.randint(len(sigmas), (size,), generator=draw)]
    clean = example.latents[example.picture[chosen]]
    noise = torch.randn(clean.shape, generator=draw).to(clean.dtype)
    level = sigma.to(clean.dtype)[:, None, None]
    said = chosen if speaker is example else torch.randint(len(speaker.picture), (size,), generator=draw)
    tensors = {
        "noised": (1 - level) * clean + level * noise,
        "velocity": noise - clean,
        "sigma": sigma,
        "states": speaker.states[said],
        "pooled": speaker.pooled[said],
    }
    return Batch(**{name: tensor.to(device) for name, tensor in tensors.items()})


def _without_caption(batch: Batch, blank: tuple[Tensor, Tensor]) -> Batch:
    states, pooled = (
        text.to(known).expand_as(known)
        for text, known in zip(blank, (batch.states, batch.pooled), strict=True)
    )
    return replace(batch, states=states, pooled=pooled)


def _error(transformer: Any, batch: Batch, guidance: float) -> Tensor:
    """Return Eq. 10's mean squared error of the predicted velocity."""
    return F.mse_loss(_predict(transformer, batch, guidance).float(), batch.velocity.float())


def _relevance(strangers: int, params: FusionParams, draw: torch.Generator) -> Tensor:
    """Return relevances (k, B): 1 for the target, 0 for strangers, with noise, clipped to 0..1."""
    named = torch.zeros(1 + strangers, params.batch)
    named[0] = 1
    noise = torch.randn(named.shape, generator=draw)
    return (named + params.relevance_noise * noise).clamp(0, 1)


def _predict(transformer: Any, batch: Batch, guidance: float) -> Tensor:
    """Return the velocity (B, T, C) that the transformer predicts for square pictures."""
    count, tokens, _ = batch.noised.shape
    device, side = batch.noised.device, round(tokens**0.5)
    velocity: Tensor = transformer(
        hidden_states=batch.noised,
        timestep=batch.sigma.to(batch.noised.dtype),
        guidance=torch.full((count,), guidance, device=device)
        if transformer.config.guidance_embeds
        else None,
        pooled_projections=batch.pooled,
        encoder_hidden_states=batch.states,
        txt_ids=torch.zeros(batch.states.shape[1], 3, device=device),
        img_ids=_positions(side).to(device),
        return_dict=False,
    )[0]
    return velocity


def _positions(side: int) -> Tensor:
    """Return the position ids (side², 3) of square pictures: 0, row, column, as FluxPipeline has them."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def _below(count: int, draw: torch.Generator) -> int:
    """Draw a whole number from 0 to count - 1."""
    return int(torch.randint(count, (), generator=draw))
