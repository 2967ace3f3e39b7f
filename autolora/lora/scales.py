"""Scales: the factor of up · down, computed from alpha and rank."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.errors import RefusedFile
from autolora.lora.verdict import refusal
from autolora.storage.regex import find_matching

METADATA_KEY = "lora_adapter_metadata"
"""header field in which diffusers and PEFT store the adapter's config"""
MAX_MAGNITUDE = 1e9
"""limit on weights and alphas: larger ones could overflow when multiplied in single precision"""
LARGE_SCALE, SMALL_SCALE = 4.0, 0.05
"""scales (alpha / rank) above or below these cause a warning"""
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
    """The fields of a PEFT LoraConfig that determine scales, for the modules of one file."""

    alpha: float | None
    alphas: Mapping[str, float]
    """module name -> alpha, for modules that a pattern matches"""
    rank_stabilized: bool
    """whether the scale is alpha / sqrt(rank) in place of alpha / rank"""

    def scale(self, module: str, rank: int) -> float:
        """Return the scale of a module by its name in the model; 1 if the config has no alpha for it."""
        alpha = self.alphas.get(module, self.alpha)
        if alpha is None:
            return 1.0
        return alpha / math.sqrt(rank) if self.rank_stabilized else alpha / rank


def read_config(metadata: Mapping[str, str], modules: Sequence[str]) -> ScaleConfig:
    """Return the adapter's config from the header's metadata; an empty one if the header has none.

    modules: names in the model of the file's modules.
    Raises RefusedFile: bad-alpha if the entry is not a LoraConfig or has a pattern that is not supported, dora if
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
    alpha = fields.get("lora_alpha")
    patterns = fields.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise refusal("bad-alpha", f"{METADATA_KEY}.alpha_pattern is not a JSON object")
    return ScaleConfig(
        alpha=None if alpha is None else _number("lora_alpha", alpha),
        alphas=_match_patterns({name: _number(name, value) for name, value in patterns.items()}, modules),
        rank_stabilized=bool(fields.get("use_rslora")),
    )


def _number(name: str, value: Any) -> float:
    """Return an alpha as float; refuse other types and numbers beyond MAX_MAGNITUDE."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_MAGNITUDE:
        raise refusal("bad-alpha", f"{METADATA_KEY}: {name[:100]} is {str(value)[:20]!r}, expected a number")
    return float(value)


def _match_patterns(patterns: Mapping[str, float], modules: Sequence[str]) -> dict[str, float]:
    """Return module name -> value of the first pattern that matches it, as PEFT's `get_pattern_key` does.

    A pattern is a regular expression for a module's name, or for the end of a name after a dot.
    """
    chars = sum(map(len, patterns))
    if len(patterns) > MAX_PATTERNS or chars > MAX_CHARS:
        raise refusal(
            "bad-alpha",
            f"alpha_pattern has {len(patterns)} patterns of {chars} characters, expected at most {MAX_PATTERNS} "
            f"of {MAX_CHARS}",
        )
    values: dict[str, float] = {}
    remaining = list(modules)
    for pattern, value in patterns.items():
        matching = {remaining[position] for position in _find_matching(pattern, remaining)}
        values |= dict.fromkeys(matching, value)
        remaining = [name for name in remaining if name not in matching]
    return values


def _find_matching(pattern: str, names: Sequence[str]) -> list[int]:
    """Return the positions of the names that a pattern matches; refuse patterns that PEFT or RE2 cannot use."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise _bad_pattern(pattern, f"it has {len(pattern)} characters, the limit is {MAX_PATTERN_CHARS}")
    if not PATTERN_SYNTAX.fullmatch(pattern):
        raise _bad_pattern(
            pattern, "expected only names, '.', classes, groups, '|', '*', '+', '?', '^' and '$'"
        )
    try:
        re.compile(pattern)  # PEFT uses Python's syntax, in which some of RE2's patterns are not valid
        return find_matching(rf"^(?:.*\.)?(?:{pattern})$", names)
    except (re.error, ValueError) as error:
        raise _bad_pattern(pattern, str(error)) from error


def _bad_pattern(pattern: str, problem: str) -> RefusedFile:
    return refusal("bad-alpha", f"the alpha_pattern {pattern[:100]!r} is not supported: {problem[:100]}")
