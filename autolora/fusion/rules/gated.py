"""gated: each update passes the trained gate of its slot (AutoLoRA, Eq. 6-9); see `autolora.fusion.gate`.

The gates' own variant says which form they have: that of the paper, of the authors' released code, or of this project.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autolora.fusion.gate import Gates
from autolora.fusion.install import Attachment, fused
from autolora.fusion.rules import Adapter


@dataclass(frozen=True, slots=True, eq=False)
class Gated:
    """Passes the updates through gates, which know the relevance of each adapter."""

    gates: Gates

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let any number of adapters act through the gates, also a single one; errors as `fused`.

        An unknown relevance counts as 1: that of a named adapter, and any if the encoder has no calibration.
        """
        loras = [adapter.lora for adapter in adapters]
        return fused(
            pipeline.transformer,
            loras,
            gates=self.gates,
            relevance=[1.0 if adapter.relevance is None else adapter.relevance for adapter in adapters],
            sha256=[adapter.sha256 for adapter in adapters],
        )
