"""Scales: the factor of up · down, computed from alpha and rank."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autolora.lora.verdict import refusal

METADATA_KEY = "lora_adapter_metadata"
"""header field in which diffusers and PEFT store the adapter's config"""
MAX_MAGNITUDE = 1e9
"""limit on weights and alphas: larger ones could overflow when multiplied in single precision"""
LARGE_SCALE, SMALL_SCALE = 4.0, 0.05
"""scales (alpha / rank) above or below these cause a warning"""
PIPELINE_PREFIX = "transformer."
"""prefix of the config's field names if a pipeline saved the file"""


@dataclass(frozen=True, slots=True)
class ScaleConfig:
    """The fields of a PEFT LoraConfig that determine scales."""

    alpha: float | None
    patterns: Mapping[str, float]
    """module pattern -> alpha"""
    rank_stabilized: bool
    """whether the scale is alpha / sqrt(rank) in place of alpha / rank"""

    def scale(self, module: str, rank: int) -> float:
        """Return the scale of a module by its name in the file; 1 if the config has no alpha for it."""
        alpha = next((value for name, value in self.patterns.items() if _matches(name, module)), self.alpha)
        if alpha is None:
            return 1.0
        return alpha / math.sqrt(rank) if self.rank_stabilized else alpha / rank


def read_config(metadata: Mapping[str, str]) -> ScaleConfig:
    """Return the adapter's config from the header's metadata; an empty one if the header has none.

    Raises RefusedFile: bad-alpha if the entry is not a LoraConfig, dora if it sets use_dora.
    """
    if METADATA_KEY not in metadata:
        return ScaleConfig(None, {}, False)
    try:
        content = json.loads(metadata[METADATA_KEY])
    except (ValueError, RecursionError) as error:
        raise refusal("bad-alpha", f"{METADATA_KEY} is not valid JSON ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise refusal("bad-alpha", f"{METADATA_KEY} is not a JSON object")
    fields = {key.removeprefix(PIPELINE_PREFIX): value for key, value in content.items()}
    if fields.get("use_dora"):
        raise refusal("dora", f"{METADATA_KEY} sets use_dora")
    alpha = fields.get("lora_alpha")
    patterns = fields.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise refusal("bad-alpha", f"{METADATA_KEY}.alpha_pattern is not a JSON object")
    return ScaleConfig(
        alpha=None if alpha is None else _number("lora_alpha", alpha),
        patterns={name: _number(name, value) for name, value in patterns.items()},
        rank_stabilized=bool(fields.get("use_rslora")),
    )


def _number(name: str, value: Any) -> float:
    """Return an alpha as float; refuse other types and numbers beyond MAX_MAGNITUDE."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_MAGNITUDE:
        raise refusal("bad-alpha", f"{METADATA_KEY}: {name[:100]} is {str(value)[:20]!r}, expected a number")
    return float(value)


def _matches(pattern: str, module: str) -> bool:
    """Return whether a pattern names a module, as in PEFT, but compared as text.

    A pattern is the end of a module path; with a leading ^ it is the whole path. Untrusted regular expressions are
    not evaluated, since matching could take forever.
    """
    name = pattern.removesuffix("$").replace("\\.", ".")
    if name.startswith("^"):
        return module == name[1:]
    return module == name or module.endswith(f".{name}")
