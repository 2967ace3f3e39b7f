"""Scales: the factor of up · down, computed from alpha and rank."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from autolora.lora.verdict import refusal
from autolora.storage.regex import find_matching

METADATA_KEY = "lora_adapter_metadata"
"""header field in which diffusers and PEFT store the adapter's config"""
MAX_MAGNITUDE = 1e9
"""limit on weights and alphas: larger ones could overflow when multiplied in single precision"""
LARGE_SCALE, SMALL_SCALE = 4.0, 0.05
"""scales (alpha / rank) above or below these cause a warning"""
INITIALIZATIONS = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""values of `init_lora_weights` with which PEFT changes the base model's weights before a training"""
PIPELINE_PREFIX = "transformer."
"""prefix of the config's field names if a pipeline saved the file"""
MAX_PATTERNS = 1000
"""limit on the patterns of a config: diffusers writes at most one per module, and FLUX.1-dev has 494"""
MAX_PATTERN_CHARS = 256
MAX_CHARS = 32_768
"""limit on the characters of all patterns together, which bounds the time to match them to about a second"""
PATTERN_SYNTAX = re.compile(
    r"(?:[A-Za-z0-9_.\-|)*+?^$]|\((?:\?:|(?!\?))|\\[.\-dwDW]|\[\^?(?:[A-Za-z0-9_.\-]|\\[.\-dw])+\])*+"
)
"""the part of the syntax with the same meaning in Python and in RE2; counted repetition can take RE2 seconds"""


@dataclass(frozen=True, slots=True)
class ScaleConfig:
    """The fields of a PEFT config that determine scales, for the modules of one file."""

    alpha: float | None
    alphas: Mapping[str, float]
    """module name -> alpha, for modules that a pattern matches"""
    rank_stabilized: bool
    """whether the scale is alpha / sqrt(rank) in place of alpha / rank"""
    rank: float | None = None
    """of a LoKr: PEFT divides alpha by it even if both matrices are stored in full"""
    ranks: Mapping[str, float] = field(default_factory=dict)
    """module name -> rank, for modules of a LoKr that a pattern matches"""
    is_initialized: bool = False
    """whether the factors began as a part of the weights (PiSSA, OLoRA, …), which loaders do not subtract"""

    def states(self, module: str) -> bool:
        """Return whether the config has an alpha for a module."""
        return self.alphas.get(module, self.alpha) is not None

    def scale(self, module: str, rank: int | None) -> float:
        """Return the scale of a module by its name in the model; 1 if the config has no alpha for it.

        rank: as stored; None for two full matrices, whose rank only the config states.
        """
        alpha, divisor = self.alphas.get(module, self.alpha), rank or self.ranks.get(module, self.rank)
        if alpha is None or divisor is None:
            return 1.0
        return alpha / math.sqrt(divisor) if self.rank_stabilized else alpha / divisor


def read_config(metadata: Mapping[str, str], modules: Sequence[str], kind: str = "lora") -> ScaleConfig:
    """Return the adapter's config from the header's metadata; an empty one if the header has none.

    modules: names in the model of the file's modules of a kind, which the keys show, whatever the peft_type says.
    Raises RefusedFile: bad-alpha if the entry is not a config of PEFT or has a pattern that is not supported, dora if
    it sets use_dora.
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
    config = ScaleConfig(
        alpha=_optional_number(fields, "lora_alpha" if kind == "lora" else "alpha"),
        alphas=_match_patterns(fields, "alpha_pattern", modules),
        rank_stabilized=bool(fields.get("use_rslora")),
        is_initialized=str(fields.get("init_lora_weights")).lower().startswith(INITIALIZATIONS),
    )
    if kind != "lokr":
        return config
    rank, ranks = _optional_number(fields, "r"), _match_patterns(fields, "rank_pattern", modules)
    if small := [number for number in (rank, *ranks.values()) if number is not None and number < 1]:
        raise refusal("bad-alpha", f"{METADATA_KEY} states the rank {small[0]:g}, expected at least 1")
    return replace(config, rank=rank, ranks=ranks)


def _optional_number(fields: Mapping[str, Any], name: str) -> float | None:
    """Return the number in a field of a config; None if it is missing or null."""
    return None if fields.get(name) is None else _number(name, fields[name])


def _number(name: str, value: Any) -> float:
    """Return an alpha as float; refuse other types and numbers beyond MAX_MAGNITUDE."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_MAGNITUDE:
        raise refusal("bad-alpha", f"{METADATA_KEY}: {name[:100]} is {str(value)[:20]!r}, expected a number")
    return float(value)


def _match_patterns(fields: Mapping[str, Any], field_name: str, modules: Sequence[str]) -> dict[str, float]:
    """Return module name -> value of the first pattern that matches it, as PEFT's `get_pattern_key` does.

    A pattern is a regular expression for a module's name, or for the end of a name after a dot.
    """
    patterns = fields.get(field_name) or {}
    if not isinstance(patterns, dict):
        raise refusal("bad-alpha", f"{METADATA_KEY}.{field_name} is not a JSON object")
    chars = sum(map(len, patterns))
    if len(patterns) > MAX_PATTERNS or chars > MAX_CHARS:
        raise refusal(
            "bad-alpha",
            f"{field_name} has {len(patterns)} patterns of {chars} characters, expected at most {MAX_PATTERNS} "
            f"of {MAX_CHARS}",
        )
    values: dict[str, float] = {}
    remaining = list(modules)
    for pattern, value in patterns.items():
        number = _number(pattern, value)
        try:
            matching = {remaining[position] for position in _find_matching(pattern, remaining)}
        except (re.error, ValueError) as error:
            problem = f"the {field_name} {pattern[:100]!r} is not supported: {str(error)[:100]}"
            raise refusal("bad-alpha", problem) from error
        values |= dict.fromkeys(matching, number)
        remaining = [name for name in remaining if name not in matching]
    return values


def _find_matching(pattern: str, names: Sequence[str]) -> list[int]:
    """Return the positions of the names that a pattern matches.

    Raises ValueError or re.error if PEFT or RE2 cannot use the pattern.
    """
    if len(pattern) > MAX_PATTERN_CHARS:
        raise ValueError(f"it has {len(pattern)} characters, the limit is {MAX_PATTERN_CHARS}")
    if not PATTERN_SYNTAX.fullmatch(pattern):
        raise ValueError("expected only names, '.', classes, groups, '|', '*', '+', '?', '^' and '$'")
    re.compile(pattern)  # PEFT uses Python's syntax, in which some of RE2's patterns are not valid
    return find_matching(rf"^(?:.*\.)?(?:{pattern})$", names)
