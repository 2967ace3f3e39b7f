"""ties_factors, dare_factors: TIES and DARE of PEFT's `add_weighted_adapter`, which merges the factors of updates.

The papers merge ΔW. This is what users of diffusers get by `combination_type="ties"` or "dare_linear": the result has
the rank of the adapters, so it costs no more than one of them, but products of one adapter's `up` with another's `down`
are in it. Each factor has the square root of the scale; the sign of a negative one goes to `down`
(`_generalized_task_arithmetic_weighted_adapter` in peft/tuners/lora/model.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import copysign, sqrt
from typing import Any

import torch
from peft.utils.merge_utils import ties
from torch import Tensor

from autolora.errors import MismatchError
from autolora.fusion.install import Attachment, find_linears, fused
from autolora.fusion.rules import Adapter
from autolora.lora.factors import Factors, Lora
from studies.paper.rules.dare import drop_values

MergeFactors = Callable[[str, Sequence[str], Sequence[Tensor], Tensor], Tensor]
"""name of the factor, sha256 of the adapters, their factors and the weights of these (k,) -> merged factor"""


@dataclass(frozen=True, slots=True)
class TiesFactors:
    """Merges factors by TIES."""

    density: float
    """share of the values of each factor that is kept"""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters of equal ranks act as one with merged factors; errors as `fused`."""
        return _attach(pipeline, adapters, self._merge)

    def _merge(self, name: str, sha256: Sequence[str], factors: Sequence[Tensor], weights: Tensor) -> Tensor:
        merged: Tensor = ties(list(factors), weights, self.density)
        return merged


@dataclass(frozen=True, slots=True)
class DareFactors:
    """Merges factors by DARE."""

    drop: float
    """probability with which a value of a factor is set to 0"""
    seed: int

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let adapters of equal ranks act as one with merged factors; errors as `fused`."""
        return _attach(pipeline, adapters, self._merge)

    def _merge(self, name: str, sha256: Sequence[str], factors: Sequence[Tensor], weights: Tensor) -> Tensor:
        dropped = [
            drop_values(factor, self.drop, self.seed, key, name) * weight
            for key, factor, weight in zip(sha256, factors, weights, strict=True)
        ]
        return torch.stack(dropped).sum(0)


def check_ranks(adapters: Sequence[Adapter]) -> None:
    """Raise MismatchError if the ranks of adapters differ in a slot: factors of unequal shapes cannot be merged."""
    ranks: dict[str, set[int]] = {}
    for adapter in adapters:
        for name, factors in adapter.lora.items():
            ranks.setdefault(name, set()).add(factors.rank)
    for name, different in ranks.items():
        if len(different) > 1:
            raise MismatchError(
                f"the adapters' updates of '{name}' have ranks {', '.join(map(str, sorted(different)))}, but this "
                "method merges factors of equal ranks: use `ties` or `dare`, which merge the updates themselves"
            )


def _attach(pipeline: Any, adapters: Sequence[Adapter], merge: MergeFactors) -> Attachment:
    find_linears(pipeline.transformer, [adapter.lora for adapter in adapters])  # checks that they fit
    return fused(pipeline.transformer, [merge_factors(adapters, merge)])


def merge_factors(adapters: Sequence[Adapter], merge: MergeFactors) -> Lora:
    """Return one LoRA with the merged factors of adapters, which `check_ranks` accepts, in float32."""
    slots = dict.fromkeys(name for adapter in adapters for name in adapter.lora)
    return {
        name: _merge_slot(name, {a.sha256: a.lora[name] for a in adapters if name in a.lora}, merge)
        for name in slots
    }


def _merge_slot(name: str, updates: dict[str, Factors], merge: MergeFactors) -> Factors:
    scales = [factors.scale for factors in updates.values()]
    down = [factors.down.float() for factors in updates.values()]
    up = [factors.up.float() for factors in updates.values()]
    signed = torch.tensor([copysign(sqrt(abs(scale)), scale) for scale in scales])
    return Factors(
        down=merge(f"{name} down", list(updates), down, signed),
        up=merge(f"{name} up", list(updates), up, signed.abs()),
        scale=1.0,
    )
