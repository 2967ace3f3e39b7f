"""Interference-resistant training of the gates (Eq. 10): one adapter's images with a second adapter active.

The released code adds a hinge loss, max(0, h - error of the same images under the second adapter's captions).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora.errors import MissingArtifact
from autolora.flow_matching import Captions, NoisedBatch, add_noise, predict_velocity
from autolora.fusion.checkpoint import STEPS_BETWEEN, Checkpoint, TrainingState
from autolora.fusion.gate import Gates
from autolora.fusion.install import fused
from autolora.lora.factors import Lora
from autolora.params import FusionParams
from autolora.presets import FusionVariant, Schedule

COSINE_EPOCHS, EPOCHS = 50, 20
"""the released code's cosine would reach zero after 50 epochs, of which it trains 20"""

Progress = Callable[[int, int, float], None]
"""called with the number of finished steps, of all steps, and the loss of the last step"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedAdapter:
    """An adapter to train with, its images and their captions."""

    sha256: str
    family: str
    images: tuple[str, ...]
    """sha256"""
    captions: tuple[tuple[int, str], ...]
    """index of the image that a caption describes, and its text"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EncodedAdapter:
    """The encoded images and captions of one adapter, on the CPU."""

    latents: Tensor
    """(P, T, C): packed latents x0 of its P images"""
    states: Tensor
    """(N, L, D): T5 states of its N captions"""
    pooled: Tensor
    """(N, d): CLIP features of its captions"""
    image_of_caption: Tensor
    """(N,): index of the image that a caption describes"""

    def captions(self, indices: Tensor) -> Captions:
        """Return the captions with these indices (B,)."""
        return self.states[indices], self.pooled[indices]


def fit(
    gates: Gates,
    transformer: Any,
    examples: Sequence[CaptionedAdapter],
    encode: Callable[[CaptionedAdapter], EncodedAdapter],
    lora_of: Callable[[str], Lora],
    sigmas: Tensor,
    params: FusionParams,
    progress: Progress,
    empty_caption: Captions,
    checkpoint: Checkpoint | None = None,
) -> list[float]:
    """Train the gates in place, the transformer and the adapters frozen; return the loss of each step.

    encode: called in each step for the adapters whose images or captions it needs, so that thousands of adapters need
    no memory. lora_of: sha256 of an adapter -> its updates. sigmas: (S,), the noise levels that steps sample from.
    empty_caption: states (1, L, D) and features (1, d). checkpoint: from which a killed training continues.
    The seed determines the weights on one kind of CPU.
    Raises MissingArtifact if the examples give no pair of target and interfering adapter.
    """
    variant = params.variant
    _require_pairs(examples, variant)
    state = begin_training(gates, params)
    if checkpoint:
        checkpoint.restore(state)
    generator, losses = state.generator, state.losses
    for step in range(len(losses), params.steps):
        target, interfering = _sample_adapters(examples, variant, generator)
        encoded = encode(target)
        captions = _sample_captions(encoded, params.batch, generator)
        clean = encoded.latents[encoded.image_of_caption[captions]]
        batch = _noise(clean, encoded.captions(captions), sigmas, generator, transformer.device)
        if variant.caption_dropout and float(torch.rand((), generator=generator)) < variant.caption_dropout:
            batch = _with_caption(batch, empty_caption)
        relevance = _sample_relevance(1 + len(interfering), params, generator)
        loras = [lora_of(example.sha256) for example in (target, *interfering)]
        state.optimizer.zero_grad()
        with fused(transformer, loras, gates=gates, relevance=relevance):
            loss = _error(transformer, batch, variant.guidance)
            loss.backward()  # type: ignore[no-untyped-call]  # inside `fused`: checkpointing calls the hooks again
        if variant.hinge and interfering:
            other = encode(interfering[0])
            captions = _sample_captions(other, params.batch, generator)
            batch = _noise(clean, other.captions(captions), sigmas, generator, transformer.device)
            with fused(transformer, loras, gates=gates, relevance=relevance.flip(0)):
                hinge = (variant.hinge - _error(transformer, batch, variant.guidance)).clamp_min(0)
                hinge.backward()  # type: ignore[no-untyped-call]  # torch's own
            loss = loss.detach() + hinge.detach()
        state.optimizer.step()
        state.schedule.step()
        losses.append(loss.item())
        if checkpoint and (step + 1) % STEPS_BETWEEN == 0:
            checkpoint.save(state)
        progress(step + 1, params.steps, losses[-1])
    return losses


def begin_training(gates: Gates, params: FusionParams) -> TrainingState:
    """Return the state before the first step."""
    variant = params.variant
    # fused=True needs one kernel per tensor instead of ten, and the gates are thousands of small tensors
    optimizer = torch.optim.AdamW(
        gates.parameters(), lr=variant.learning_rate, weight_decay=variant.weight_decay, fused=True
    )
    return TrainingState(
        gates=gates,
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(variant.schedule, step, params.steps)
        ),
        generator=torch.Generator().manual_seed(params.seed),
    )


def learning_rate_factor(schedule: Schedule, step: int, steps: int) -> float:
    """Return the learning rate of a step, counted from 0, relative to the variant's.

    `cosine` is the released code's cosine annealing: constant within each of EPOCHS epochs, and still at 0.68 of the
    initial rate in the last one, as its period is longer than the training.
    """
    if schedule == "constant":
        return 1.0
    epoch = step * EPOCHS // steps
    return (1 + math.cos(math.pi * epoch / COSINE_EPOCHS)) / 2


def _require_pairs(examples: Sequence[CaptionedAdapter], variant: FusionVariant) -> None:
    needed = "families of training adapters" if variant.other_family else "training adapters"
    count = len({example.family if variant.other_family else example.sha256 for example in examples})
    if count < 2:
        raise MissingArtifact(
            f"the gates need two or more {needed} with captioned images, but there are {count}: check "
            "data/training.jsonl, run `dvc repro captions dataset`, or move dataset.train_until in params.yaml; "
            "or use pretrained gates (fusion.from), which need none"
        )


def _sample_adapters(
    examples: Sequence[CaptionedAdapter], variant: FusionVariant, generator: torch.Generator
) -> tuple[CaptionedAdapter, tuple[CaptionedAdapter, ...]]:
    """Return a random target and one interfering adapter, or none in `single_share` of the steps."""
    target = examples[_random_index(len(examples), generator)]
    if float(torch.rand((), generator=generator)) < variant.single_share:
        return target, ()
    if variant.other_family:
        others = [example for example in examples if example.family != target.family]
    else:
        others = [example for example in examples if example is not target]
    return target, (others[_random_index(len(others), generator)],)


def _sample_captions(example: EncodedAdapter, count: int, generator: torch.Generator) -> Tensor:
    """Return the indices (count,) of random captions, with replacement."""
    return torch.randint(len(example.image_of_caption), (count,), generator=generator)


def _noise(
    clean: Tensor, captions: Captions, sigmas: Tensor, generator: torch.Generator, device: torch.device
) -> NoisedBatch:
    """Return latents (B, T, C), each with random noise of a random level, beside captions (B, ...)."""
    sigma = sigmas[torch.randint(len(sigmas), (len(clean),), generator=generator)]
    noise = torch.randn(clean.shape, generator=generator).to(clean.dtype)
    return add_noise(clean, noise, sigma, captions, device)


def _with_caption(batch: NoisedBatch, caption: Captions) -> NoisedBatch:
    """Return the batch with one caption, (1, L, D) and (1, d), for all images."""
    states, pooled = (
        text.to(current).expand_as(current)
        for text, current in zip(caption, (batch.states, batch.pooled), strict=True)
    )
    return replace(batch, states=states, pooled=pooled)


def _sample_relevance(num_adapters: int, params: FusionParams, generator: torch.Generator) -> Tensor:
    """Return relevances (k, B): 1 for the target, 0 for the interfering adapter, plus noise, clipped to 0..1."""
    relevance = torch.zeros(num_adapters, params.batch)
    relevance[0] = 1
    noise = torch.randn(relevance.shape, generator=generator)
    return (relevance + params.relevance_noise * noise).clamp(0, 1)


def _error(transformer: Any, batch: NoisedBatch, guidance: float) -> Tensor:
    """Return Eq. 10's mean squared error of the predicted velocity."""
    return F.mse_loss(predict_velocity(transformer, batch, guidance).float(), batch.velocity.float())


def _random_index(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (), generator=generator))
