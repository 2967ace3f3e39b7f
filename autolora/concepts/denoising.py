"""Gradients of the flow-matching loss on captioned images: the mean over noise levels and draws, as sketches."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from autolora.concepts.gradients import GradientSketcher
from autolora.flow_matching import Captions, add_noise, encode_captions, encode_images, predict_velocity
from autolora.lora.sketch import SketchSpec
from autolora.lora.slots import slots
from autolora.params import ConceptsParams
from autolora.storage.hashes import hash_value

GUIDANCE = 1.0
"""guidance input of the transformer: that with which LoRAs of FLUX.1-dev are usually trained"""
NEUTRAL = ""
"""the prompt of `caption: neutral`"""
SEED_DIGITS = 15
"""hexadecimal digits of a hash that are a seed, below 2^63"""


class DenoisingGradients:
    """Computes the gradient sketches of images with a frozen FluxPipeline."""

    def __init__(self, pipeline: Any, params: ConceptsParams, spec: SketchSpec, tokens: int) -> None:
        """Prepare the sketches. tokens: number of T5 states per prompt. Raises as GradientSketcher."""
        self._pipeline, self._params, self._tokens = pipeline, params, tokens
        transformer = pipeline.transformer
        self._sketcher = GradientSketcher(transformer, slots(transformer.config), spec)
        self._neutral = encode_captions(pipeline, [NEUTRAL], tokens)

    def compute(self, images: Sequence[Image.Image], names: Sequence[str], prompts: Sequence[str]) -> Tensor:
        """Return the gradients (B, S, m, p), float32, on the CPU.

        names: of the images; an image's noise follows from its name and the seed, whatever else is in the batch.
        """
        latents = encode_images(self._pipeline, images, self._params.image_size)
        captions = self._encode(prompts)
        levels = self._params.noise_levels
        total: Tensor | float = 0.0
        for level in levels:
            for draw in range(self._params.draws):
                noise = torch.stack([self._noise(name, level, draw, latents[0]) for name in names])
                total = total + self._gradient(latents, noise, level, captions)
        return torch.as_tensor(total).cpu() / (len(levels) * self._params.draws)

    def _encode(self, prompts: Sequence[str]) -> Captions:
        if all(prompt == NEUTRAL for prompt in prompts):
            states, pooled = self._neutral
            return states.expand(len(prompts), -1, -1), pooled.expand(len(prompts), -1)
        return encode_captions(self._pipeline, prompts, self._tokens)

    def _noise(self, name: str, level: float, draw: int, like: Tensor) -> Tensor:
        seed = int(hash_value([self._params.seed, name, level, draw])[:SEED_DIGITS], 16)
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed)).to(like.dtype)

    def _gradient(self, latents: Tensor, noise: Tensor, level: float, captions: Captions) -> Tensor:
        """Return the gradients (B, S, m, p) at one noise level."""
        transformer = self._pipeline.transformer
        sigma = torch.full((len(latents),), level)
        batch = add_noise(latents, noise, sigma, captions, transformer.device)

        def losses() -> Tensor:
            error = predict_velocity(transformer, batch, GUIDANCE).float() - batch.velocity.float()
            return error.square().mean(dim=(1, 2))

        return self._sketcher.sketch(losses)
