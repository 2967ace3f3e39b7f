"""Formats: which tensor of a LoRA file feeds which canonical slots, as tables.

A key is prefix + module path + suffix. The prefix and the names in the path make the layout, the suffix makes
the role of the tensor in its module. Module paths are parsed whole: underscores are never replaced blindly.
`docs/howto/layouts.md` shows the layouts with an example each and is tested against this.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autolora.slots import DOUBLE, SINGLE

# suffix -> style, kind of update, role of the tensor; None: the same in every style, in every kind
SUFFIXES: dict[str, tuple[str | None, str | None, str]] = {
    "lora_A.default.weight": ("A", "lora", "down"),
    "lora_B.default.weight": ("A", "lora", "up"),
    "lora_A.weight": ("A", "lora", "down"),
    "lora_B.weight": ("A", "lora", "up"),
    "lora_A": ("A", "lora", "down"),
    "lora_B": ("A", "lora", "up"),
    "lora_down.weight": ("down", "lora", "down"),
    "lora_up.weight": ("down", "lora", "up"),
    "lora.down.weight": ("old", "lora", "down"),
    "lora.up.weight": ("old", "lora", "up"),
    "lora_linear_layer.down.weight": ("old", "lora", "down"),
    "lora_linear_layer.up.weight": ("old", "lora", "up"),
    "down.weight": ("processor", "lora", "down"),
    "up.weight": ("processor", "lora", "up"),
    "hada_w1_a": (None, "loha", "w1_a"),
    "hada_w1_b": (None, "loha", "w1_b"),
    "hada_w2_a": (None, "loha", "w2_a"),
    "hada_w2_b": (None, "loha", "w2_b"),
    "lokr_w1": (None, "lokr", "w1"),
    "lokr_w1_a": (None, "lokr", "w1_a"),
    "lokr_w1_b": (None, "lokr", "w1_b"),
    "lokr_w2": (None, "lokr", "w2"),
    "lokr_w2_a": (None, "lokr", "w2_a"),
    "lokr_w2_b": (None, "lokr", "w2_b"),
    "alpha": (None, None, "alpha"),
}
LONGEST_SUFFIX = 3
"""dot-separated words"""

# Black Forest Labs' module names -> fused suffixes
BFL_DOUBLE = {
    "img_attn.qkv": "attn.a_to_qkv",
    "img_attn.proj": "attn.a_to_out",
    "img_mlp.0": "ff_a.0",
    "img_mlp.2": "ff_a.2",
    "img_mod.lin": "norm1_a.linear",
    "txt_attn.qkv": "attn.b_to_qkv",
    "txt_attn.proj": "attn.b_to_out",
    "txt_mlp.0": "ff_b.0",
    "txt_mlp.2": "ff_b.2",
    "txt_mod.lin": "norm1_b.linear",
}
BFL_SINGLE = {"linear1": "to_qkv_mlp", "linear2": "proj_out", "modulation.lin": "norm.linear"}
XLABS_DOUBLE = {
    "processor.qkv_lora1": "attn.a_to_qkv",
    "processor.proj_lora1": "attn.a_to_out",
    "processor.qkv_lora2": "attn.b_to_qkv",
    "processor.proj_lora2": "attn.b_to_out",
}
DIFFUSERS_FUSED = {"attn.to_qkv": "attn.a_to_qkv", "attn.to_added_qkv": "attn.b_to_qkv"}
"""modules of diffusers' double blocks after `fuse_qkv_projections`"""
SINGLE_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
"""the fused slot of a single block without its mlp rows"""
XLABS_SINGLE = {"processor.qkv_lora": SINGLE_QKV, "processor.proj_lora": ("proj_out",)}

Names = Mapping[str, tuple[str, ...]]
"""module name within a block -> suffixes of the canonical slots that it feeds, in row order"""


def _parts(table: tuple[tuple[str, int, int, str], ...]) -> Names:
    """Return fused suffix -> canonical suffixes, from a table of autolora.slots."""
    return {fused: tuple(row[0] for row in table if row[3] == fused) for *_, fused in table}


def _same(table: tuple[tuple[str, int, int, str], ...]) -> Names:
    return {row[0]: (row[0],) for row in table}


def _via(names: Mapping[str, str], parts: Names) -> Names:
    return {name: parts[fused] for name, fused in names.items()}


def _cut(names: Names) -> Names:
    """Return the names of a fused module's parts, numbered in row order; a module of one part keeps its name."""
    return {
        f"{name}.{row}" if len(parts) > 1 else name: (part,)
        for name, parts in names.items()
        for row, part in enumerate(parts)
    }


@dataclass(frozen=True, slots=True)
class Naming:
    """How one family of tools names the two stacks and the modules in a block."""

    double: str
    single: str
    double_names: Names
    single_names: Names


_BFL_DOUBLE, _BFL_SINGLE = _via(BFL_DOUBLE, _parts(DOUBLE)), _via(BFL_SINGLE, _parts(SINGLE))
BFL = Naming("double_blocks", "single_blocks", _BFL_DOUBLE, {**_BFL_SINGLE, "linear1_qkv": SINGLE_QKV})
BFL_CUT = Naming("double_blocks", "single_blocks", _cut(_BFL_DOUBLE), _cut(_BFL_SINGLE))
XLABS = Naming("double_blocks", "single_blocks", _via(XLABS_DOUBLE, _parts(DOUBLE)), XLABS_SINGLE)
DIFFUSERS = Naming(
    "transformer_blocks",
    "single_transformer_blocks",
    {**_same(DOUBLE), **_via(DIFFUSERS_FUSED, _parts(DOUBLE))},
    {**_same(SINGLE), "attn.to_qkv": SINGLE_QKV},
)
NATIVE = Naming("blocks", "single_blocks", _parts(DOUBLE), _parts(SINGLE))

# layout, prefix, naming, separator within a module path, style of its suffixes; the first that fits counts
LAYOUTS = (
    ("kohya", "lora_unet_", BFL, "_", "down"),
    ("kohya-diffusers", "lora_unet_", DIFFUSERS, "_", "down"),
    ("onetrainer", "lora_transformer_", DIFFUSERS, "_", "down"),
    ("onetrainer-bfl", "transformer.", BFL_CUT, ".", "down"),
    ("onetrainer-bfl", "lora_transformer_", BFL_CUT, ".", "down"),
    ("lycoris", "lycoris_", DIFFUSERS, "_", "down"),
    ("comfy", "diffusion_model.", BFL, ".", "down"),
    ("comfy-diffusers", "diffusion_model.", DIFFUSERS, ".", "A"),
    ("comfy-diffusers-down", "diffusion_model.", DIFFUSERS, ".", "down"),
    ("bfl-peft", "diffusion_model.", BFL, ".", "A"),
    ("bfl-transformer", "transformer.", BFL, ".", "A"),
    ("bfl-bare", "", BFL, ".", "A"),
    ("bfl-bare-down", "", BFL, ".", "down"),
    ("fal-kontext", "base_model.model.", BFL, ".", "A"),
    ("peft", "transformer.", DIFFUSERS, ".", "A"),
    ("peft-down", "transformer.", DIFFUSERS, ".", "down"),
    ("peft-bare", "", DIFFUSERS, ".", "A"),
    ("peft-bare-down", "", DIFFUSERS, ".", "down"),
    ("peft-model", "base_model.model.", DIFFUSERS, ".", "A"),
    ("peft-pipeline", "base_model.model.transformer.", DIFFUSERS, ".", "A"),
    ("old-diffusers", "transformer.", DIFFUSERS, ".", "old"),
    ("old-diffusers", "", DIFFUSERS, ".", "old"),
    ("xlabs", "", XLABS, ".", "processor"),
    ("xlabs", "diffusion_model.", XLABS, ".", "processor"),
    ("native", "", NATIVE, ".", "A"),
)
SCALE_ELSEWHERE = ("peft-bare", "peft-model", "peft-pipeline", "fal-kontext", "bfl-bare")
"""layouts of tools that keep alpha in a file beside the weights (PEFT's adapter_config.json)"""


@dataclass(frozen=True, slots=True)
class Part:
    """What one key is: the path of its module, the style and kind of its suffix, and its role in the module."""

    path: str
    style: str | None
    """None for what looks the same in every style"""
    kind: str | None
    """lora, loha or lokr; None for alpha, which all have"""
    role: str


@dataclass(frozen=True, slots=True)
class Module:
    """One LoRA module of a file and the canonical slots it feeds, in the row order of its update."""

    layout: str
    name: str
    """its path without the layout's prefix"""
    slots: tuple[str, ...]


def _index() -> dict[tuple[str, str, str, str], list[tuple[str, str, str, tuple[str, ...]]]]:
    """Return (prefix, separator, stack, module) -> (layout, style, stack of the slots, their suffixes)."""
    found: dict[tuple[str, str, str, str], list[tuple[str, str, str, tuple[str, ...]]]] = {}
    for layout, prefix, naming, mark, style in LAYOUTS:
        for stack, home, names in (
            (naming.double, DIFFUSERS.double, naming.double_names),
            (naming.single, DIFFUSERS.single, naming.single_names),
        ):
            for name, suffixes in names.items():
                row = (layout, style, home, suffixes)
                found.setdefault((prefix, mark, stack, name.replace(".", mark)), []).append(row)
    return found


def _choice(words: set[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_INDEX = _index()
_PATH = re.compile(
    rf"(?P<prefix>{_choice({prefix for prefix, *_ in _INDEX})})"
    rf"(?P<name>(?P<stack>{_choice({stack for _, _, stack, _ in _INDEX})})"
    r"(?P<mark>[._])(?P<block>[0-9]{1,4})(?P=mark)(?P<module>.+))"
)


def find_part(key: str) -> Part | None:
    """Split a key into module path and role; None when its suffix is none of a LoRA's, LoHa's or LoKr's."""
    words = key.rsplit(".", LONGEST_SUFFIX)
    for first in range(1, len(words)):
        if known := SUFFIXES.get(".".join(words[first:])):
            return Part(".".join(words[:first]), *known)
    return None


def find_module(path: str, style: str | None) -> Module | None:
    """Return the module a path names, in the first layout that knows it; None when none does."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    place = (match["prefix"], match["mark"], match["stack"], match["module"])
    for layout, known, home, suffixes in _INDEX.get(place, ()):
        if style in (None, known):
            slots = tuple(f"{home}.{int(match['block'])}.{suffix}" for suffix in suffixes)
            return Module(layout, match["name"], slots)
    return None
