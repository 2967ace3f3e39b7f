"""velocity: the sum of what each adapter alone changes in the predicted velocity, v0 + c · Σ (v_i - v0).

v0 is the velocity of the base model, v_i that with adapter i alone: what collides in a sum of updates is the network's
response, not the weights. The form is that of composable diffusion (Liu et al., ECCV 2022, the operator AND) with
adapters in place of prompts. It needs k + 1 passes of the transformer per call instead of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from autolora.fusion.install import Attachment
from autolora.fusion.rules import Adapter
from studies.paper.rules.turns import attach_by_turns, only

FACTOR = 0.85
"""c that was best on the playground: docs/fusion.md"""


@dataclass(frozen=True, slots=True)
class Velocity:
    """Adds up changes of the velocity."""

    factor: float = FACTOR
    """c"""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act by the sum of their changes of the velocity; errors as `fused`."""
        passes = [only(), *map(only, range(len(adapters)))]  # the base model, then each adapter alone
        return attach_by_turns(pipeline, adapters, lambda timestep: passes, self._combine)

    def _combine(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return v0 + c · Σ (v_i - v0), computed in float32."""
        base, *adapted = (output.float() for output in outputs)
        change = torch.stack(adapted).sum(0) - len(adapted) * base
        return (base + self.factor * change).to(outputs[0].dtype)
