"""How much two adapters collide: what their sum does to the velocity that neither does alone.

Values are appended to cache/gates_bench/collisions.jsonl of a world; those that exist are not computed again.
"""

import torch
from torch import Tensor

from autolora.experiments.cases import PromptCase
from autolora.fusion.flow_matching import add_noise, predict_velocity
from autolora.fusion.install import fused
from autolora.fusion.stage import base_files
from autolora.storage.files import append_rows, read_rows
from autolora.storage.hashes import hash_value
from studies.gates.world import World

LEVELS = (0.3, 0.6, 0.9)
"""noise levels of the images"""


class Collisions:
    """The interaction of each pair of unseen adapters."""

    def __init__(self, world: World) -> None:
        self._world, self._path = world, world.cache / "collisions.jsonl"
        self._known = {row["key"]: float(row["interaction"]) for row in read_rows(self._path)}

    def find(self, case: PromptCase) -> float | None:
        """Return the interaction of a pair; None if it is not computed yet."""
        return self._known.get(self._key(case))

    def measure(self, case: PromptCase) -> float:
        """Return the interaction of a pair; compute it first if necessary."""
        key = self._key(case)
        if key not in self._known:
            self._known[key] = interaction(self._world, case)
            row = {"key": key, "adapters": case.adapters, "interaction": self._known[key]}
            append_rows(self._path, [row])
        return self._known[key]

    def _key(self, case: PromptCase) -> str:
        params = self._world.params
        settings = [LEVELS, params.fusion.image_size, params.generation.guidance]
        return hash_value([case.adapters, case.prompt, settings, base_files(self._world.root, params.models)])


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
