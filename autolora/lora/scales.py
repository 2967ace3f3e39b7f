"""Scales: from alpha and rank to the one number that multiplies up · down."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autolora.lora.verdict import refusal

METADATA_KEY = "lora_adapter_metadata"
"""where diffusers and PEFT put the adapter's config in the header"""
LARGEST = 1e9
"""Weights and alphas above this could overflow when they are multiplied in single precision."""
LARGE, SMALL = 4.0, 0.05
"""A scale (alpha / rank) beyond these is worth a warning."""
PIPELINE_PREFIX = "transformer."
"""what a pipeline's save puts before the config's names"""


@dataclass(frozen=True, slots=True)
class Config:
    """The part of a PEFT LoraConfig that decides scales."""

    alpha: float | None
    patterns: Mapping[str, float]
    """module pattern -> alpha"""
    rank_stabilised: bool
    """alpha / sqrt(rank) in place of alpha / rank"""

    def scale(self, module: str, rank: int) -> float:
        """Return the scale of a module by its name in the file; 1 where the config names no alpha."""
        alpha = next((value for name, value in self.patterns.items() if _fits(name, module)), self.alpha)
        if alpha is None:
            return 1.0
        return alpha / math.sqrt(rank) if self.rank_stabilised else alpha / rank


def read_config(metadata: Mapping[str, str]) -> Config:
    """Read the adapter's config from the header's metadata; an empty one where there is none.

    Raises RefusedFile: bad-alpha when the entry is no LoraConfig, dora when it says so.
    """
    if METADATA_KEY not in metadata:
        return Config(None, {}, False)
    try:
        content = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise refusal("bad-alpha", f"{METADATA_KEY} is no JSON ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise refusal("bad-alpha", f"{METADATA_KEY} is no JSON object")
    fields = {key.removeprefix(PIPELINE_PREFIX): value for key, value in content.items()}
    if fields.get("use_dora"):
        raise refusal("dora", f"{METADATA_KEY} says use_dora")
    alpha = fields.get("lora_alpha")
    patterns = fields.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise refusal("bad-alpha", f"{METADATA_KEY}.alpha_pattern is no JSON object")
    return Config(
        alpha=None if alpha is None else _number("lora_alpha", alpha),
        patterns={name: _number(name, value) for name, value in patterns.items()},
        rank_stabilised=bool(fields.get("use_rslora")),
    )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise refusal("bad-alpha", f"{METADATA_KEY}: {name[:100]} is {str(value)[:20]!r}")
    return float(value)


def _fits(pattern: str, module: str) -> bool:
    """Match as PEFT does, but by text: a stranger's regular expression could run for ever.

    A pattern names the end of a module path; with ^ in front it names the whole path.
    """
    name = pattern.removesuffix("$").replace("\\.", ".")
    if name.startswith("^"):
        return module == name[1:]
    return module == name or module.endswith(f".{name}")
