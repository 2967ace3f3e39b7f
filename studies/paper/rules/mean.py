"""mean: the mean of the updates, W + Σ ΔW_i / k, which is the mean of the adapted models' weights.

Source: Wortsman et al., Model soups (ICML 2022), the uniform soup. The strengths are not normalized: k adapters of
strength k give the plain sum.
"""

from collections.abc import Sequence
from typing import Any

from autolora.fusion.install import Attachment, fused
from autolora.fusion.methods import strengthened
from autolora.fusion.rules import Adapter


class Mean:
    """Averages the updates."""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act as the mean of their updates; errors as `fused`."""
        share = 1 / len(adapters)
        return fused(pipeline.transformer, [strengthened(adapter.lora, share) for adapter in adapters])
