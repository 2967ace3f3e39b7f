"""dare: set random values of each update to 0, divide the others by the share that is kept, and add the updates.

Source: Yu et al., Language Models are Super Mario (ICML 2024, 2311.03099), DARE with task arithmetic, and
`mask_input_with_mask_rate` of github.com/yule-BUAA/MergeLM. The expected value is ΔW, and most values may be dropped
where they are small and many: the paper drops 0.9 of those of language models.

The values of an adapter are drawn from the seed, its sha256 and the slot, so that they do not depend on the others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.utils.merge_utils import prune
from torch import Tensor

from autolora.fusion.install import Attachment
from autolora.fusion.rules import Adapter
from studies.paper.rules.merged import attach_merged


@dataclass(frozen=True, slots=True)
class Dare:
    """Merges updates by DARE."""

    drop: float
    """probability with which a value is set to 0"""
    seed: int

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act as their merged update; errors as `fused`."""
        return attach_merged(pipeline, adapters, self._merge)

    def _merge(self, slot: str, deltas: Mapping[str, Tensor]) -> Tensor:
        dropped = [
            drop_values(value, self.drop, self.seed, sha256, slot) for sha256, value in sorted(deltas.items())
        ]
        return torch.stack(dropped).sum(0)


def drop_values(values: Tensor, drop: float, *seeds: object) -> Tensor:
    """Return values of which random ones are 0 and the others are divided by 1 - drop.

    seeds: what determines the random ones, on one kind of device; torch's global generator stays as it is.
    """
    digest = hashlib.sha256(" ".join(map(str, seeds)).encode()).digest()
    on_gpu = values.device.type == "cuda"
    # not torch.manual_seed, which also seeds the devices that fork_rng does not restore
    generator = torch.cuda.default_generators[values.device.index] if on_gpu else torch.default_generator
    with torch.random.fork_rng([values.device] if on_gpu else []):
        generator.manual_seed(int.from_bytes(digest[:7]))
        dropped: Tensor = prune(values, 1 - drop, method="random", rescale=True)
    return dropped
