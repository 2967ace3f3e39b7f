"""direct: the sum of the updates, W + Σ ΔW_i, as diffusers and PEFT add several LoRAs."""

from collections.abc import Sequence
from typing import Any

from autolora.fusion.install import Attachment, fused
from autolora.fusion.rules import Adapter


class Direct:
    """Adds the updates."""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let any number of adapters act as the sum of their updates; errors as `fused`."""
        return fused(pipeline.transformer, [adapter.lora for adapter in adapters])
