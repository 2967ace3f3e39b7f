"""Distillation: the gates learn the velocity that the method `velocity` gives, v0 + c Σ (v_i - v0), in one pass.

The base model draws a few images with that method, for a prompt that names the adapters; the gated velocity is
regressed on the recorded one at random steps of these trajectories. Further adapters that the prompt does not name may
be active: the method leaves them out, and the gates learn to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora.fusion.flow_matching import Captions, NoisedBatch, predict_velocity
from autolora.fusion.gate import Gates
from autolora.fusion.install import fused
from autolora.fusion.rules import Adapter
from autolora.fusion.rules.direct import Direct
from autolora.fusion.training_set import (
    CaptionedAdapter,
    TrainingSet,
    random_index,
    sample_captions,
    sample_relevance,
)
from autolora.matching.phrases import distinctive_phrase, word_shares
from autolora.params import FusionParams
from autolora.storage.hashes import hash_value
from autolora.storage.tensor_files import load_or_compute
from studies.paper.rules.velocity import Velocity

NAMED = 2
"""adapters that a prompt names, if two or more are active"""
IMAGES_PER_SET = 4
"""trajectories with one set of adapters"""
TRAJECTORIES = 160
"""images that are drawn to learn from"""
SETS_IN_MEMORY = 256
"""sets whose trajectories are kept, as they are in files too: for FLUX.1-dev at 512 px 21 MB per set of 20 steps"""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSet:
    """Adapters that act together, and the prompts that name the first ones."""

    adapters: tuple[CaptionedAdapter, ...]
    named: int
    prompts: tuple[str, ...]


class Distillation:
    """The error against the method `velocity`, along its trajectories."""

    def __init__(
        self,
        pipeline: Any,
        adapters: TrainingSet,
        sigmas: Tensor,
        params: FusionParams,
        folder: Path,
        trajectories: int = TRAJECTORIES,
    ) -> None:
        """pipeline: its transformer is frozen, as the adapters are. sigmas: (S,), descending: the noise levels of the
        trajectories' steps.

        folder: keeps trajectories; its name says what they were computed from.
        """
        self.pipeline, self.transformer = pipeline, pipeline.transformer
        self.adapters, self.sigmas, self.params = adapters, sigmas, params
        self._folder, self._sets = folder, max(1, trajectories // IMAGES_PER_SET)
        self._trajectories = lru_cache(SETS_IN_MEMORY)(self._read_trajectories)
        self._draw_set = lru_cache(None)(self._sample_set)

    def losses(self, gates: Gates, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield one step's loss, as `fusion.training.TrainingLoss`."""
        number = random_index(self._sets, generator)
        active, stored = self._draw_set(number), self._trajectories(number)
        size = self.params.batch
        images = torch.randint(IMAGES_PER_SET, (size,), generator=generator)
        steps = torch.randint(len(self.sigmas), (size,), generator=generator)
        texts = self.adapters.encode_texts([active.prompts[image] for image in images.tolist()])
        batch = self._batch(stored["latents"][images, steps], self.sigmas[steps], texts)
        target = stored["velocities"][images, steps].to(batch.noised.device)
        relevance = sample_relevance(
            active.named, len(active.adapters), size, self.params.relevance_noise, generator
        )
        with fused(self.transformer, self._loras(active.adapters), gates=gates, relevance=relevance):
            predicted = predict_velocity(self.transformer, batch, self.params.variant.guidance)
            yield F.mse_loss(predicted.float(), target.float())

    def _sample_set(self, number: int) -> AdapterSet:
        """Return the adapters and prompts of a set, which depend on the seed and its number only."""
        generator = _generator(self.params.seed, number)
        active = self.adapters.sample(self.params.variant, generator)
        named = min(NAMED, len(active))
        captions = sample_captions(active[0], IMAGES_PER_SET, generator)
        phrases = [self._phrase(adapter) for adapter in active[1:named]]
        prompts = tuple(", ".join([text.strip().rstrip("."), *filter(None, phrases)]) for _, text in captions)
        return AdapterSet(adapters=tuple(active), named=named, prompts=prompts)

    def _phrase(self, adapter: CaptionedAdapter) -> str:
        """Return the words by which an adapter's captions differ from those of other families."""
        others = (
            text
            for other in self.adapters.adapters
            if other.family != adapter.family
            for _, text in other.captions
        )
        return distinctive_phrase([text for _, text in adapter.captions], word_shares(others))

    def _read_trajectories(self, number: int) -> Any:
        """Return `latents` and `velocities` of a set, (IMAGES_PER_SET, S, T, C) each."""
        active = self._draw_set(number)
        tokens = self.adapters.encode_texts(active.prompts)[0].shape[1]
        key = hash_value([[adapter.sha256 for adapter in active.adapters], active.prompts, tokens, number])
        return load_or_compute(self._folder / f"{key}.safetensors", partial(self._compute, active, number))

    @torch.no_grad()
    def _compute(self, active: AdapterSet, number: int) -> dict[str, Tensor]:
        variant, named = self.params.variant, active.adapters[: active.named]
        rule = Velocity() if len(named) > 1 else Direct()
        teachers = [
            Adapter(adapter.sha256, lora) for adapter, lora in zip(named, self._loras(named), strict=True)
        ]
        shape = self.adapters.encode_images(named[0])[:1].expand(len(active.prompts), -1, -1)
        noise = torch.randn(shape.shape, generator=_generator(self.params.seed, number))
        texts = self.adapters.encode_texts(active.prompts)
        with rule.attach(self.pipeline, teachers):
            latents, velocities = draw(
                lambda noised, sigma: predict_velocity(
                    self.transformer, self._batch(noised, sigma, texts), variant.guidance
                ),
                noise.to(shape.dtype),
                self.sigmas,
            )
        return {"latents": latents, "velocities": velocities}

    def _batch(self, noised: Tensor, sigma: Tensor, texts: Captions) -> NoisedBatch:
        """Return latents (B, T, C) of noise levels (B,) with their captions, on the transformer's device."""
        device, dtype = self.transformer.device, self.transformer.dtype
        return NoisedBatch(
            noised=noised.to(device, dtype),
            velocity=torch.zeros_like(noised, device=device),
            sigma=sigma.to(device),
            states=texts[0].to(device),
            pooled=texts[1].to(device),
        )

    def _loras(self, adapters: Sequence[CaptionedAdapter]) -> list[Any]:
        return [self.adapters.load_lora(adapter.sha256) for adapter in adapters]


def draw(
    velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, sigmas: Tensor
) -> tuple[Tensor, Tensor]:
    """Return latents and velocities (B, S, T, C) of the steps that draw images from noise (B, T, C), by Euler's method.

    velocity: called with latents and noise levels (B,). sigmas: (S,), descending; the last step ends at 0.
    """
    current, latents, velocities = noise.float(), [], []
    for sigma, following in zip(sigmas, [*sigmas[1:], torch.zeros(())], strict=True):
        predicted = velocity(current, sigma.expand(len(noise))).float().cpu()
        latents.append(current)
        velocities.append(predicted)
        current = current + (following - sigma) * predicted
    return tuple(torch.stack(values, dim=1).to(noise.dtype) for values in (latents, velocities))  # type: ignore[return-value]  # two


def _generator(seed: int, number: int) -> torch.Generator:
    """Return the random numbers of a set, other ones than those of the training's steps."""
    return torch.Generator().manual_seed(int(hash_value(["trajectories", seed, number])[:15], 16))
