"""The presets of the gates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from autolora.presets import SlotView
from autolora.storage.bounds import Bound, Natural, Positive

GateForm = Literal["full", "no_base", "no_cross", "no_lora", "scalar"]
Schedule = Literal["constant", "cosine"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionVariant:
    """Architecture, loss and training of the gates (Eq. 6-10)."""

    slots: SlotView
    """the transformer's own linears, or the authors' fused ones"""
    gate: GateForm
    """which terms of Eq. 7 the gate has; `no_cross` has no base term either, as in the released code; `scalar` has only
    b, one number per slot as is w_out, and the relevance"""
    relevance: bool
    """the gate has one more term, w_rel · s_i, with the relevance s_i of adapter i to the prompt"""
    relevance_weight: float
    """initial w_rel"""
    global_rank: Natural
    """rank of the global LoRA (Eq. 9), used with two or more adapters; 0 disables it"""
    init_std: float
    """standard deviation of the initial w_base, w_lora, w_cross and b"""
    init_bias: float
    """mean of the initial b"""
    init_output_scale: float
    """initial w_out"""
    max_active: Annotated[int, Bound("between 2 and 4, both allowed", lambda value: 2 <= value <= 4)]
    """maximum number of active adapters per step, 2 to 4; their number is drawn, from 2 on"""
    single_share: float
    """share of steps with the target adapter alone, 0 to 1"""
    other_family: bool
    """the interfering adapter is of another near-duplicate family than the target, instead of any other adapter"""
    hinge: float
    """h of the loss max(0, h - error of the same image under the interfering adapter's caption); 0 disables it"""
    caption_dropout: float
    """share of steps with an empty caption, 0 to 1"""
    flow_shift: float | None
    """shift of the training noise levels; None takes the pipeline's own, which depends on the image size"""
    guidance: float
    """the transformer's guidance input in training"""
    learning_rate: Positive
    """of AdamW"""
    weight_decay: float
    """of AdamW"""
    schedule: Schedule
    """constant learning rate, or the released code's cosine, see `fusion.training.learning_rate_factor`"""


FUSION: Mapping[str, FusionVariant] = {
    "paper": FusionVariant(
        slots="fused", gate="full", relevance=False, relevance_weight=0.0, global_rank=4, init_std=1.0,
        init_bias=0.0, init_output_scale=1.0,
        max_active=2, single_share=0.0, other_family=False, hinge=0.0,
        caption_dropout=0.0, flow_shift=3.0, guidance=1.0, learning_rate=1e-4, weight_decay=0.01,
        schedule="constant",
    ),
    "best": FusionVariant(
        slots="canonical", gate="full", relevance=True, relevance_weight=6.0, global_rank=4, init_std=0.0,
        init_bias=-3.0, init_output_scale=1.0,
        max_active=2, single_share=0.2, other_family=True, hinge=0.0,
        caption_dropout=0.0, flow_shift=None, guidance=1.0, learning_rate=1e-4, weight_decay=0.0,
        schedule="constant",
    ),
}  # fmt: skip
"""preset -> variant of the gates"""
