"""Interference-resistant training (Eq. 10): one adapter's images, while further adapters are active.

The released code adds a hinge loss, max(0, h - error of the same images under an interfering adapter's captions).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from autolora import processes
from autolora.fusion.flow_matching import NoisedBatch, add_noise, predict_velocity
from autolora.fusion.gate import Gates
from autolora.fusion.install import fused
from autolora.fusion.training_set import TrainingSet, sample_captions, sample_relevance
from autolora.params import FusionParams


@dataclass(frozen=True, slots=True, eq=False)
class Interference:
    """The loss of Eq. 10, for random targets and interfering adapters of a training set."""

    transformer: Any
    """frozen, as the adapters are"""
    adapters: TrainingSet
    sigmas: Tensor
    """(S,): the noise levels that steps sample from"""
    params: FusionParams

    def losses(self, gates: Gates, generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the terms of one step's loss, as `fusion.training.TrainingLoss`."""
        variant, size = self.params.variant, self.params.batch
        active = self.adapters.sample(variant, generator)
        captions = sample_captions(active[0], size, generator)
        texts = [text for _, text in captions]
        if variant.caption_dropout and float(torch.rand((), generator=generator)) < variant.caption_dropout:
            texts = [""] * size
        clean = self.adapters.encode_images(active[0])[[image for image, _ in captions]]
        batch = self._noise(clean, texts, generator)
        relevance = sample_relevance(1, len(active), size, self.params.relevance_noise, generator)
        relevance = relevance[:, processes.part(size)]
        loras = [self.adapters.load_lora(adapter.sha256) for adapter in active]
        with fused(self.transformer, loras, gates=gates, relevance=relevance):
            yield self._error(batch)
        if variant.hinge and len(active) > 1:
            texts = [text for _, text in sample_captions(active[1], size, generator)]
            batch = self._noise(clean, texts, generator)
            swapped = relevance[[1, 0, *range(2, len(active))]]
            with fused(self.transformer, loras, gates=gates, relevance=swapped):
                yield (variant.hinge - self._error(batch)).clamp_min(0)

    def _noise(self, clean: Tensor, texts: Sequence[str], generator: torch.Generator) -> NoisedBatch:
        """Return this process's part of latents (B, T, C), each with noise of a random level, beside their captions."""
        sigma = self.sigmas[torch.randint(len(self.sigmas), (len(clean),), generator=generator)]
        noise = torch.randn(clean.shape, generator=generator).to(clean.dtype)
        part = processes.part(len(clean))
        captions = self.adapters.encode_texts(texts[part])
        return add_noise(clean[part], noise[part], sigma[part], captions, self.transformer.device)

    def _error(self, batch: NoisedBatch) -> Tensor:
        """Return Eq. 10's mean squared error of the predicted velocity, over the parts of all processes."""
        predicted = predict_velocity(self.transformer, batch, self.params.variant.guidance)
        return processes.mean(F.mse_loss(predicted.float(), batch.velocity.float()))
