"""The presets: what the paper says, what its authors' released code does, and what is best, a field a departure.

A field of `params.yaml` that is null has its preset's value here; any other value there takes its place. What
neither preset nor paper decides (sizes, steps, rates) is in params.yaml alone.

The released code has several states. `released` is the paper's repository: its training command has the gate
`no_base` and a global LoRA of rank 2; `gate: full` and `global_rank: 4` make it the later release, whose gates
are published. It ends with an error where an adapter lacks a slot: `absent: refuse` does so too, and `zero`
takes the slot as an update of zero. Not followed: ranking by the norm of the whole pool (an index holds unit
vectors).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

Preset = Literal["paper", "released", "best"]
Probe = Literal["sketch", "full"]
View = Literal["canonical", "fused"]
Tokens = Literal["slot", "probe"]
Strength = Literal["relative", "kept"]
Projections = Literal["type", "slot"]
Alpha = Literal["layer", "file"]
Absent = Literal["mask", "zero", "refuse"]
Start = Literal["silent", "drawn"]
Negatives = Literal["others", "all"]
Draw = Literal["adapters", "captions"]
Schedule = Literal["cosine", "constant"]
Form = Literal["full", "no_base", "no_cross", "no_lora"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderForm:
    """Where retrievers differ (Eq. 1-3)."""

    slots: View
    """the transformer's own linears, or the authors' fused ones"""
    alpha: Alpha
    """each layer's own scale, or a file's first one for all layers; sketches and gates have their own"""
    probes: int
    """q of Eq. 1, a slot"""
    tokens: Tokens
    """one token a slot, from all its probes, or one token a probe"""
    strength: Strength
    """`kept`: Eq. 1 as it stands; `relative`: directions, and each slot's share in the adapter's strength"""
    projections: Projections
    """one W of Eq. 1 for each kind of linear, or one for each slot"""
    causal: bool
    """a token attends only to itself and to those before it"""
    absent: Absent
    """slots that an adapter lacks are hidden, are updates of zero, or are an error"""
    start: Start
    """W of Eq. 1 is zero at the start, or drawn"""
    temperature: float
    """tau of Eq. 3, at the start where it is learned"""
    temperature_learned: bool
    loss_factor: float
    """of the sum of Eq. 3's two cross entropies"""
    negatives: Negatives
    """all other rows of a batch, or those of another family and another text"""
    draw: Draw
    """a batch is distinct adapters with a caption each, or captions drawn with replacement"""
    schedule: Schedule
    """of the learning rate: warm-up and cosine, or none"""
    clip: bool
    """gradients, at norm 1"""
    regularize: bool
    """whether dropout, slot_dropout and sketch_noise have an effect"""
    center: bool
    """subtract the mean of the training texts from every text"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionForm:
    """Where gates differ (Eq. 6-10)."""

    slots: View
    gate: Form
    """which terms of Eq. 7 it has; `no_cross` has no base term either, as in the released code"""
    relevance: bool
    """whether it has one more, w_rel · s_i"""
    relevance_weight: float
    """w_rel at the start"""
    global_rank: int
    """of Eq. 9's LoRA; 0 leaves it out"""
    spread: float
    """standard deviation of w_base, w_lora, w_cross and around `bias` at the start"""
    bias: float
    """mean of b at the start"""
    scale: float
    """w_out at the start"""
    single_share: float
    """share of steps with the target alone"""
    hinge: float
    """h of the term max(0, h - loss under the stranger's caption); 0 leaves it out"""
    caption_dropout: float
    """share of steps without a caption"""


ENCODER: Mapping[str, EncoderForm] = {
    "paper": EncoderForm(
        slots="fused", alpha="layer", probes=1, tokens="probe", strength="kept", projections="slot", causal=False,
        absent="mask", start="drawn", temperature=0.07, temperature_learned=True, loss_factor=1.0,
        negatives="all", draw="adapters", schedule="constant", clip=False, regularize=False, center=False,
    ),
    "released": EncoderForm(
        slots="fused", alpha="file", probes=1, tokens="probe", strength="kept", projections="type", causal=True,
        absent="zero", start="drawn", temperature=1.0, temperature_learned=False, loss_factor=10.0,
        negatives="all", draw="captions", schedule="constant", clip=False, regularize=False, center=False,
    ),
    "best": EncoderForm(
        slots="canonical", alpha="layer", probes=32, tokens="slot", strength="relative", projections="type",
        causal=False, absent="mask", start="silent", temperature=0.07, temperature_learned=True,
        loss_factor=0.5, negatives="others", draw="adapters", schedule="cosine", clip=True, regularize=True,
        center=True,
    ),
}  # fmt: skip

FUSION: Mapping[str, FusionForm] = {
    "paper": FusionForm(
        slots="fused", gate="full", relevance=False, relevance_weight=0.0, global_rank=4,
        spread=1.0, bias=0.0, scale=1.0, single_share=0.0, hinge=0.0, caption_dropout=0.0,
    ),
    "released": FusionForm(
        slots="fused", gate="no_base", relevance=False, relevance_weight=0.0, global_rank=2,
        spread=1.0, bias=0.0, scale=0.512, single_share=0.0, hinge=0.5, caption_dropout=0.3,
    ),
    "best": FusionForm(
        slots="canonical", gate="full", relevance=True, relevance_weight=6.0, global_rank=4,
        spread=0.0, bias=-3.0, scale=1.0, single_share=0.2, hinge=0.0, caption_dropout=0.0,
    ),
}  # fmt: skip

T = TypeVar("T", EncoderForm, FusionForm)


def resolve(table: Mapping[str, T], section: Any) -> T:
    """Return the form that a section of the params names: its preset's, with the values that it sets itself."""
    form = table[section.preset]
    own = {field.name: getattr(section, field.name) for field in fields(form)}
    return replace(form, **{name: value for name, value in own.items() if value is not None})
