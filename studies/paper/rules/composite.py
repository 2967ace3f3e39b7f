"""composite: the mean of the predictions with each adapter alone, Σ v_i / k (LoRA Composite).

Source: Zhong et al., Multi-LoRA Composition for Image Generation (2402.16843), with equal weights, and
`lora_composite` of github.com/maszhongming/Multi-LoRA-Composition. There the mean is of the conditional and of the
unconditional predictions of classifier-free guidance; FLUX.1-dev has its guidance inside the model, so there is one
prediction, and two with a negative prompt (true CFG), which the pipeline combines as the paper does. k passes per call.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autolora.fusion.install import Attachment
from autolora.fusion.rules import Adapter
from studies.paper.rules.turns import attach_by_turns, only


class Composite:
    """Averages predictions."""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act by the mean of the velocities with each alone; errors as `fused`."""
        passes = [only(index) for index in range(len(adapters))]
        return attach_by_turns(pipeline, adapters, lambda timestep: passes, average)


def average(outputs: Sequence[Tensor]) -> Tensor:
    """Return the mean, computed in float32."""
    return torch.stack([output.float() for output in outputs]).mean(0).to(outputs[0].dtype)
