"""How much two adapters collide: what their sum does to the velocity that neither does alone."""

import torch
from torch import Tensor

from autolora.experiments.cases import PromptCase
from autolora.flow_matching import add_noise, predict_velocity
from autolora.fusion.install import fused
from bench.gates.world import World

LEVELS = (0.3, 0.6, 0.9)
"""noise levels of the images"""


@torch.no_grad()
def interaction(world: World, case: PromptCase) -> float:
    """Return ‖v_12 - v_1 - v_2 + v_0‖ / ‖v_12 - v_0‖ on noised images of both adapters: 0 if their effects add up."""
    transformer = world.generator.pipeline.transformer
    examples = {adapter.sha256: adapter for adapter in world.unseen.adapters}
    images = torch.cat([world.unseen.encode_images(examples[sha256]) for sha256 in case.adapters])
    clean = images.repeat(len(LEVELS), 1, 1)
    sigma = torch.tensor(LEVELS).repeat_interleave(len(images))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)).to(clean.dtype)
    captions = world.unseen.encode_texts([case.prompt] * len(clean))
    batch = add_noise(clean, noise, sigma, captions, transformer.device)

    def velocity(*adapters: str) -> Tensor:
        with fused(transformer, [world.generator.load_lora(sha256) for sha256 in adapters]):
            return predict_velocity(transformer, batch, world.params.generation.guidance).float()

    base, both = velocity(), velocity(*case.adapters)
    first, second = (velocity(sha256) for sha256 in case.adapters)
    return float((both - first - second + base).norm() / (both - base).norm())
