"""Adapters' own images with captions, noised: what fusions that are trained for a set of adapters learn from."""

from functools import cached_property

import torch
from torch import Tensor

from autolora import models
from autolora.dataset.store import training_lock
from autolora.errors import MissingArtifact
from autolora.fusion.examples import ExampleReader, find_examples
from autolora.fusion.flow_matching import NoisedBatch, add_noise, predict_velocity
from autolora.fusion.stage import base_files
from autolora.fusion.training_set import CaptionedAdapter, TrainingSet, sample_captions
from studies.paper.world import World


class OwnImages:
    """Reads the captioned images of adapters of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    @cached_property
    def _examples(self) -> TrainingSet:
        root, params = self._world.root, self._world.params
        reader = ExampleReader(
            root,
            self._world.generator.pipeline,
            params.pool,
            base_files=base_files(root, params.models),
            size=params.fusion.image_size,
            tokens=params.generation.max_sequence_length,
        )
        return reader.training_set(find_examples(root, training_lock(root).rows))

    @cached_property
    def _sigmas(self) -> Tensor:
        """The noise levels (S,) that batches sample from."""
        latents = self._examples.encode_images(self._examples.adapters[0])
        return models.training_sigmas(self._world.generator.pipeline, latents.shape[1])

    def find(self, sha256: str) -> CaptionedAdapter:
        """Return an adapter with its images and captions; raises MissingArtifact if it has none."""
        for example in self._examples.adapters:
            if example.sha256 == sha256:
                return example
        raise MissingArtifact(
            f"training a fusion needs a captioned image of adapter {sha256}: run `dvc repro captions`"
        )

    def sample(self, adapter: CaptionedAdapter, size: int, rng: torch.Generator) -> NoisedBatch:
        """Return random images of an adapter with random captions of theirs, noised at random levels."""
        captions = sample_captions(adapter, size, rng)
        clean = self._examples.encode_images(adapter)[[image for image, _ in captions]]
        noise = torch.randn(clean.shape, generator=rng).to(clean.dtype)
        sigma = self._sigmas[torch.randint(len(self._sigmas), (size,), generator=rng)]
        texts = self._examples.encode_texts([text for _, text in captions])
        return add_noise(clean, noise, sigma, texts, self._world.generator.pipeline.transformer.device)

    def velocity(self, batch: NoisedBatch) -> Tensor:
        """Return the velocity (B, T, C) that the transformer predicts, with the adapters that act on it."""
        guidance = self._world.params.fusion.variant.guidance
        return predict_velocity(self._world.generator.pipeline.transformer, batch, guidance).float()
