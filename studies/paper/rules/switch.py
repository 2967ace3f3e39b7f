"""switch: one adapter at a time, another after every few steps (LoRA Switch).

Source: Zhong et al., Multi-LoRA Composition for Image Generation (2402.16843): in step t, counted from 1, adapter
⌊((t - 1) mod kτ) / τ⌋ + 1 acts. The callback of the authors' code
(github.com/maszhongming/Multi-LoRA-Composition, callbacks.py) gives the first adapter one step more, and their τ = 5 is
for 50 to 200 steps. The paper's order is the user's; here it is that of the sha256, so that the same adapters give the
same image in every order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from autolora.fusion.install import Attachment
from autolora.fusion.rules import Adapter
from studies.paper.rules.steps import DenoisingSteps
from studies.paper.rules.turns import Acting, attach_by_turns, only


@dataclass(frozen=True, slots=True)
class Switch:
    """Lets one adapter act at a time."""

    steps: int
    """τ: consecutive steps of one adapter"""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act by turns; errors as `fused`, and when the pipeline is called, as `DenoisingSteps.read`."""
        ordered = sorted(adapters, key=lambda adapter: adapter.sha256)
        steps = DenoisingSteps(pipeline)

        def choose(timestep: Tensor | None) -> Sequence[Acting]:
            return [only(steps.read(timestep).number // self.steps % len(adapters))]

        return attach_by_turns(pipeline, ordered, choose)
