"""What adapters do to one call of a tiny transformer, or to an image, by a method of the studies."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autolora.fusion.rules import Adapter
from studies.paper.methods import Method, attach
from tests.fusion.rules.adapters import load_gates
from tests.support.one_call import OneCall
from tests.support.tiny_flux import TOKENS

STEPS = 4
"""of denoising"""


def run(pipeline: OneCall, adapters: Sequence[Adapter], method: Method) -> Tensor:
    """Return the output (2, 4, 16) of a call with adapters."""
    with attach(pipeline, adapters, method, load_gates):
        return pipeline()


def draw(pipe: Any, *, true_cfg: bool = False, **arguments: Any) -> np.ndarray[Any, Any]:
    """Return an image (32, 32, 3), 0 to 1."""
    negative = {"negative_prompt": "blurred", "true_cfg_scale": 2.0} if true_cfg else {}
    images = pipe(
        prompt="neon", width=32, height=32, num_inference_steps=STEPS, max_sequence_length=TOKENS,
        generator=torch.Generator().manual_seed(5), output_type="np", **negative, **arguments,
    ).images  # fmt: skip
    return np.asarray(images[0])
