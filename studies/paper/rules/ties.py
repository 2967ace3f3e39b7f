"""ties, ties_slots: trim small values, elect a sign per entry, average the values that have it (TIES-Merging).

Source: Yadav et al., TIES-Merging (NeurIPS 2023, 2306.01708), and github.com/prateeky2806/ties-merging: of each task
vector, here all ΔW of an adapter together, the share `density` with the largest magnitudes is kept
(`topk_values_mask`), the sign with the larger total magnitude is elected (`resolve_sign`, "mass"), and the mean is over
the values that have it (`disjoint_merge`, "dis-mean"). λ is 1: it is the adapters' strength, if all have the same.

`ties_slots` is `ties` of PEFT and mergekit on ΔW: it trims each matrix by itself. For `ties` of PEFT's
`add_weighted_adapter`, which merges factors, see `studies.paper.rules.factorwise`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft.utils.merge_utils import ties
from torch import Tensor

from autolora.fusion.install import Attachment, execution_device, find_linears
from autolora.fusion.rules import Adapter
from studies.paper.rules.merged import attach_merged, delta_on
from studies.paper.rules.trimming import merge_trimmed, smallest_kept


@dataclass(frozen=True, slots=True)
class Ties:
    """Merges updates by TIES; values are trimmed by one threshold per adapter."""

    density: float
    """share of the values that is kept"""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act as their merged update; errors as `fused`."""
        transformer = pipeline.transformer
        linears = find_linears(transformer, [adapter.lora for adapter in adapters])
        devices = {name: execution_device(transformer, linear) for name, linear in linears.items()}
        thresholds = {adapter.sha256: self._threshold(adapter, devices) for adapter in adapters}

        def merge(slot: str, deltas: Mapping[str, Tensor]) -> Tensor:
            return merge_trimmed(list(deltas.values()), [thresholds[sha256] for sha256 in deltas])

        return attach_merged(pipeline, adapters, merge)

    def _threshold(self, adapter: Adapter, devices: Mapping[str, torch.device]) -> float:
        """Return the smallest magnitude in the adapter's ΔW that is kept."""
        return smallest_kept(
            lambda: (delta_on(devices[name], factors) for name, factors in adapter.lora.items()), self.density
        )


@dataclass(frozen=True, slots=True)
class TiesSlots:
    """Merges updates by TIES; values are trimmed per slot."""

    density: float
    """share of the values that is kept"""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters act as their merged update; errors as `fused`."""
        return attach_merged(pipeline, adapters, self._merge)

    def _merge(self, slot: str, deltas: Mapping[str, Tensor]) -> Tensor:
        values = list(deltas.values())
        merged: Tensor = ties(values, torch.ones(len(values), device=values[0].device), self.density)
        return merged
