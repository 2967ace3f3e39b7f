"""The section of generated images, and the methods of fusion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from autolora.storage.suggestions import did_you_mean

Method = Literal[
    "direct", "gated", "mean", "velocity", "composite", "switch", "ties", "ties_slots", "ties_factors", "dare",
    "dare_factors", "knots", "knots_released", "klora", "klora_released", "klora_balanced",
]  # fmt: skip
"""methods of fusion, see docs/fusion.md"""
METHODS: tuple[Method, ...] = get_args(Method)
METHODS_WITH_STYLE: tuple[Method, ...] = ("klora", "klora_released")
"""methods that must know which of two adapters is the style; all others make no difference between adapters"""
RULE_NUMBERS: Mapping[Method, tuple[str, ...]] = {
    "velocity": ("velocity_factor", "velocity_share"),
    "switch": ("switch_steps",),
    "ties": ("density",),
    "ties_slots": ("density",),
    "ties_factors": ("density",),
    "dare": ("drop", "seed"),
    "dare_factors": ("drop", "seed"),
    "knots": ("density",),
    "knots_released": ("density",),
}
"""method -> the fields of RuleParams that are in its rule; the others have none"""


def check_method(method: str) -> Method:
    """Return a method of fusion; raises ValueError if there is none of this name."""
    for known in METHODS:
        if method == known:
            return known
    suggestion = did_you_mean(str(method), METHODS)
    raise ValueError(f"there is no method of fusion '{method}'{suggestion}: give one of {', '.join(METHODS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleParams:
    """The numbers in the rules by which several adapters act together."""

    velocity_factor: float
    """velocity: c of v0 + c · Σ (v_i - v0); above 0 and at most 4, as a strength"""
    velocity_share: float
    """velocity: share of the denoising steps, from the first; the others use the plain sum"""
    switch_steps: int
    """switch: consecutive denoising steps of one adapter"""
    density: float
    """ties, knots: share of the values, largest first, that are not set to 0; above 0 and below 1"""
    drop: float
    """dare: probability with which a value is set to 0; above 0 and below 1"""
    seed: int
    """dare: of the values that are set to 0"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationParams:
    """How images are generated, also those of experiments."""

    width: int
    """px, a multiple of 16, as is the height"""
    height: int
    steps: int
    """denoising steps"""
    guidance: float
    """guidance scale of FLUX.1-dev"""
    max_sequence_length: int
    """T5 tokens of a prompt, also in the training of the gates"""
    trigger_words: bool
    """add the first trigger word of each adapter to the prompt of `generate`"""
    method: Method
    """how several adapters act together: as the sum of their updates (direct), through the gates (gated), or by
    another rule"""
    rules: RuleParams
    text_encoders: bool
    """add an adapter's updates of the text encoders too, if its file has some"""
    batch: int
    """images per call of the pipeline"""
