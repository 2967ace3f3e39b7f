"""The section of generated images, and the methods of fusion."""

from dataclasses import dataclass
from typing import Literal, get_args

from autolora.storage.bounds import Count, Factor, Side

Method = Literal["direct", "gated", "velocity"]
"""methods of fusion, see docs/fusion.md"""
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleParams:
    """The numbers in the rule of `velocity`; the other methods have none."""

    velocity_factor: Factor
    """c of v0 + c · Σ (v_i - v0); above 0 and at most 4, as a strength"""
    velocity_share: float = 1.0
    """share of the denoising steps, from the first; the others use the plain sum"""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationParams:
    """How images are generated, also those of experiments."""

    width: Side
    """px, a multiple of 16, as is the height"""
    height: Side
    steps: Count
    """denoising steps"""
    guidance: float
    """guidance scale of FLUX.1-dev"""
    max_sequence_length: Count
    """T5 tokens of a prompt, also in the training of the gates"""
    trigger_words: bool
    """add the first trigger word of each adapter to the prompt of `generate`"""
    method: Method
    """how several adapters act together: as the sum of their updates (direct), through the gates (gated), or by the
    sum of what each changes in the predicted velocity (velocity)"""
    rules: RuleParams
    text_encoders: bool
    """add an adapter's updates of the text encoders too, if its file has some"""
    batch: Count
    """images per call of the pipeline"""
