"""One call of a tiny transformer, at a step of a denoising that a pipeline would be in."""

from typing import Any

import torch
from torch import Tensor

from tests.support.tiny_flux import CONFIG

TIMESTEP = 0.3
"""of the call"""


class Scheduler:
    """The position that a scheduler of diffusers states."""

    def __init__(self, step: int, steps: int, begin: int = 0) -> None:
        self.timesteps = torch.full((steps,), 1000 * TIMESTEP)
        self.step_index = step if step > begin else None
        self.begin_index = begin


class OneCall:
    """A pipeline in the middle of a denoising: a transformer and a scheduler."""

    def __init__(self, transformer: Any, step: int = 0, steps: int = 10) -> None:
        self.transformer = transformer
        self.scheduler: Any = Scheduler(step, steps)

    @torch.no_grad()
    def __call__(self) -> Tensor:
        """Return the transformer's output (2, 4, 16) for fixed random inputs."""
        generator = torch.Generator().manual_seed(2)
        ids = torch.zeros(4, 3)
        ids[:, 1:] = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
        dtype = self.transformer.dtype
        output: Tensor = self.transformer(
            hidden_states=torch.randn(2, 4, 16, generator=generator).to(dtype),
            timestep=torch.tensor([TIMESTEP, TIMESTEP], dtype=dtype),
            guidance=torch.full((2,), 3.5),
            pooled_projections=torch.randn(2, 16, generator=generator).to(dtype),
            encoder_hidden_states=torch.randn(2, 5, 16, generator=generator).to(dtype),
            txt_ids=torch.zeros(5, 3),
            img_ids=ids,
            return_dict=False,
        )[0]
        return output


def build_transformer() -> Any:
    """Return a tiny transformer with random weights."""
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)
