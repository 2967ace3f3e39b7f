"""klora, klora_released: in each slot only the adapter with the larger values acts (K-LoRA).

Source: Ouyang, Li, Hou, K-LoRA (CVPR 2025, 2502.18461). For a content and a style adapter with ranks r_c and r_s, S_c
and S_s are the sums of the r_c · r_s largest magnitudes in a slot's ΔW. Content acts if S_c / γ > S_s · S, else style.
γ balances adapters of different magnitude: the ratio of the sums of all magnitudes, content by style. S = α t + β, with
the share t of the denoising that is done, α = 1.5 and β = 0.5, moves from content to style.

`klora_released` is the authors' code for FLUX (github.com/HVision-NKU/K-LoRA): S* = (α t + β) mod α with β = 0.85 α,
which begins and ends with style, and as γ the mean of the slots' ratios without those of three times their mean and
more. Both need to know which adapter is the style: the second of two.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

from torch import Tensor

from autolora.errors import MismatchError
from autolora.fusion.install import Attachment, execution_device, find_linears
from autolora.fusion.rules import Adapter
from studies.paper.rules.merged import delta_on
from studies.paper.rules.steps import DenoisingSteps
from studies.paper.rules.turns import Acting, attach_by_turns

ALPHA = 1.5
BETA = 0.5
BETA_RELEASED = 0.85 * ALPHA
MAX_RATIO = 3
"""a slot's ratio from this multiple of their mean is an outlier, in the authors' code"""


@dataclass(frozen=True, slots=True)
class Magnitudes:
    """The magnitudes of one adapter's ΔW in one slot."""

    largest: float
    """sum of the K largest"""
    total: float
    """sum of all"""


SlotMagnitudes = Mapping[str, Mapping[int, Magnitudes]]
"""slot -> index of an adapter that changes it -> magnitudes"""


@dataclass(frozen=True, slots=True)
class KLora:
    """Lets content or style act, by K-LoRA."""

    released: bool
    """S* and γ of the authors' code"""

    def attach(self, pipeline: Any, adapters: Sequence[Adapter]) -> Attachment:
        """Let two adapters act, the second of which is the style.

        Raises MismatchError if there are not two, and as `fused`; when the pipeline is called, as
        `DenoisingSteps.read`.
        """
        if len(adapters) != 2:
            names = ", ".join(adapter.sha256[:8] for adapter in adapters)
            raise MismatchError(
                f"K-LoRA combines a content adapter and a style adapter, but {len(adapters)} are given ({names}): "
                "give two"
            )
        magnitudes = measure(pipeline.transformer, adapters)
        both = [row for row in magnitudes.values() if len(row) == 2]
        gamma = (_mean_ratio(both) if self.released else _ratio_of_sums(both)) if both else 1.0
        content = {name: row[0].largest / gamma if 0 in row else 0.0 for name, row in magnitudes.items()}
        style = {name: row[1].largest if 1 in row else 0.0 for name, row in magnitudes.items()}
        scale = scale_released if self.released else scale_of_style
        return attach_by_turns(
            pipeline, adapters, partial(_choose, content, style, scale, DenoisingSteps(pipeline))
        )


def _choose(
    content: Mapping[str, float],
    style: Mapping[str, float],
    scale: Callable[[float], float],
    steps: DenoisingSteps,
    timestep: Tensor | None,
) -> Sequence[Acting]:
    """Return the pass of a call: content (0) or style (1) acts in each slot.

    content, style: slot -> S_c / γ, and S_s. scale: share of the denoising that is done -> S.
    """
    factor = scale(steps.read(timestep).share)
    return [lambda slot: (0,) if content[slot] > style[slot] * factor else (1,)]


def scale_of_style(share: float) -> float:
    """Return S of the paper after a share of the denoising."""
    return ALPHA * share + BETA


def scale_released(share: float) -> float:
    """Return S* of the authors' code after a share of the denoising."""
    return (ALPHA * share + BETA_RELEASED) % ALPHA


def measure(transformer: Any, adapters: Sequence[Adapter]) -> SlotMagnitudes:
    """Return the magnitudes of each adapter's ΔW in each slot.

    K is the product of their ranks in the slot.
    """
    magnitudes: dict[str, dict[int, Magnitudes]] = {}
    for name, linear in find_linears(transformer, [adapter.lora for adapter in adapters]).items():
        device = execution_device(transformer, linear)
        updates = {i: adapter.lora[name] for i, adapter in enumerate(adapters) if name in adapter.lora}
        ranks = [factors.rank for factors in updates.values()]
        magnitudes[name] = {
            i: _magnitudes(delta_on(device, factors), min(ranks) * max(ranks))
            for i, factors in updates.items()
        }
    return magnitudes


def _magnitudes(update: Tensor, k: int) -> Magnitudes:
    values = update.abs().flatten()
    return Magnitudes(largest=float(values.topk(min(k, len(values))).values.sum()), total=float(values.sum()))


def _ratio_of_sums(slots: Sequence[Mapping[int, Magnitudes]]) -> float:
    """Return γ of the paper."""
    return sum(row[0].total for row in slots) / sum(row[1].total for row in slots)


def _mean_ratio(slots: Sequence[Mapping[int, Magnitudes]]) -> float:
    """Return γ of the authors' code."""
    ratios = [row[0].total / row[1].total for row in slots]
    limit = MAX_RATIO * fmean(ratios)
    return fmean(ratio for ratio in ratios if ratio < limit)
