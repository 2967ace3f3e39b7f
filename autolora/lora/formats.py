"""Formats: tables that map the tensors of a LoRA file to canonical slots.

A key is prefix + module path + suffix. The prefix and the names in the path determine the layout, the suffix the
role of the tensor in its module. Module paths are looked up as a whole: replacing every underscore by a dot would be
ambiguous. `docs/howto/layouts.md` lists the layouts with an example each; a test compares it with this module.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autolora.lora.slots import DOUBLE, SINGLE

# suffix -> suffix style, kind of update, role of the tensor; None: used with every style, with every kind
SUFFIXES: dict[str, tuple[str | None, str | None, str]] = {
    "lora_A.weight": ("A", "lora", "down"),
    "lora_B.weight": ("A", "lora", "up"),
    "lora_A": ("A", "lora", "down"),
    "lora_B": ("A", "lora", "up"),
    "lora_down.weight": ("down", "lora", "down"),
    "lora_up.weight": ("down", "lora", "up"),
    "lora_down": ("down", "lora", "down"),
    "lora_up": ("down", "lora", "up"),
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
NAMED_SUFFIXES = {"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"}
"""word before the name of a PEFT adapter, as in lora_A.NAME.weight -> suffix without the name"""
MAX_SUFFIX_WORDS = 3
"""dot-separated words in the longest suffix"""

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
"""the fused slot of a single block without its MLP rows"""
XLABS_SINGLE = {"processor.qkv_lora": SINGLE_QKV, "processor.proj_lora": ("proj_out",)}

ModuleNames = Mapping[str, tuple[str, ...]]
"""module name within a block -> suffixes of the canonical slots that it updates, in row order"""


def _parts(table: tuple[tuple[str, int, int, str], ...]) -> ModuleNames:
    """Return fused suffix -> canonical suffixes, from a table of autolora.lora.slots."""
    return {fused: tuple(row[0] for row in table if row[3] == fused) for *_, fused in table}


def _unfused(table: tuple[tuple[str, int, int, str], ...]) -> ModuleNames:
    """Return canonical suffix -> itself, from a table of autolora.lora.slots."""
    return {row[0]: (row[0],) for row in table}


def _via(names: Mapping[str, str], parts: ModuleNames) -> ModuleNames:
    """Return module name -> canonical suffixes, from module name -> fused suffix -> canonical suffixes."""
    return {name: parts[fused] for name, fused in names.items()}


def _numbered(names: ModuleNames) -> ModuleNames:
    """Return fused modules as numbered parts, in row order; a module of one part keeps its name."""
    return {
        f"{name}.{row}" if len(parts) > 1 else name: (part,)
        for name, parts in names.items()
        for row, part in enumerate(parts)
    }


@dataclass(frozen=True, slots=True)
class Naming:
    """The names that a group of tools uses for the two stacks and for the modules in a block."""

    double: str
    single: str
    double_names: ModuleNames
    single_names: ModuleNames


_BFL_DOUBLE, _BFL_SINGLE = _via(BFL_DOUBLE, _parts(DOUBLE)), _via(BFL_SINGLE, _parts(SINGLE))
BFL = Naming("double_blocks", "single_blocks", _BFL_DOUBLE, {**_BFL_SINGLE, "linear1_qkv": SINGLE_QKV})
BFL_NUMBERED = Naming(
    "double_blocks",
    "single_blocks",
    {**BFL.double_names, **_numbered(_BFL_DOUBLE)},
    {**BFL.single_names, **_numbered(_BFL_SINGLE)},
)
XLABS = Naming("double_blocks", "single_blocks", _via(XLABS_DOUBLE, _parts(DOUBLE)), XLABS_SINGLE)
DIFFUSERS = Naming(
    "transformer_blocks",
    "single_transformer_blocks",
    {**_unfused(DOUBLE), **_via(DIFFUSERS_FUSED, _parts(DOUBLE))},
    {**_unfused(SINGLE), "attn.to_qkv": SINGLE_QKV},
)
NATIVE = Naming("blocks", "single_blocks", _parts(DOUBLE), _parts(SINGLE))

PEFT_PREFIX = "base_model.model."
"""what PEFT's `save_pretrained` writes before a module's name in the model"""
DOTTED_PREFIXES = ("", "transformer.", "unet.", "diffusion_model.", "model.diffusion_model.", "pipe.dit.")
"""names of the transformer within a pipeline or a checkpoint"""
WRAPPED_PREFIXES = tuple(PEFT_PREFIX + prefix for prefix in DOTTED_PREFIXES)
UNDERSCORED_PREFIXES = ("lora_unet_", "lora_unet__", "lora_transformer_", "lycoris_", "lycoris__")
DASHED_PREFIXES = ("", "lora_unet-", "lora_transformer-", "transformer-", "unet-")
"""of sliders, whose tools write dashes where module names have dots"""

# layout, prefix, naming, separator within a module path, suffix style; the first match is used
KNOWN_LAYOUTS = (
    ("kohya", "lora_unet_", BFL, "_", "down"),
    ("kohya-diffusers", "lora_unet_", DIFFUSERS, "_", "down"),
    ("onetrainer", "lora_transformer_", DIFFUSERS, "_", "down"),
    ("onetrainer-bfl", "transformer.", BFL_NUMBERED, ".", "down"),
    ("onetrainer-bfl", "lora_transformer_", BFL_NUMBERED, ".", "down"),
    ("lycoris", "lycoris_", DIFFUSERS, "_", "down"),
    ("lycoris", "lycoris__", DIFFUSERS, "_", "down"),
    ("comfy", "diffusion_model.", BFL, ".", "down"),
    ("comfy-diffusers", "diffusion_model.", DIFFUSERS, ".", "A"),
    ("comfy-diffusers-down", "diffusion_model.", DIFFUSERS, ".", "down"),
    ("bfl-peft", "diffusion_model.", BFL, ".", "A"),
    ("bfl-transformer", "transformer.", BFL, ".", "A"),
    ("bfl-bare", "", BFL, ".", "A"),
    ("bfl-bare-down", "", BFL, ".", "down"),
    ("fal-kontext", PEFT_PREFIX, BFL, ".", "A"),
    ("peft", "transformer.", DIFFUSERS, ".", "A"),
    ("peft-down", "transformer.", DIFFUSERS, ".", "down"),
    ("peft-bare", "", DIFFUSERS, ".", "A"),
    ("peft-bare-down", "", DIFFUSERS, ".", "down"),
    ("peft-model", PEFT_PREFIX, DIFFUSERS, ".", "A"),
    ("peft-pipeline", f"{PEFT_PREFIX}transformer.", DIFFUSERS, ".", "A"),
    *(
        ("peft-wrapped", prefix, naming, ".", "A")
        for prefix in WRAPPED_PREFIXES
        for naming in (BFL, DIFFUSERS)
    ),
    ("old-diffusers", "transformer.", DIFFUSERS, ".", "old"),
    ("old-diffusers", "", DIFFUSERS, ".", "old"),
    ("xlabs", "", XLABS, ".", "processor"),
    ("xlabs", "diffusion_model.", XLABS, ".", "processor"),
    ("native", "", NATIVE, ".", "A"),
    ("native", "pipe.dit.", NATIVE, ".", "A"),
)
MIXED_LAYOUTS = tuple(
    ("mixed", prefix, naming, separator, style)
    for prefixes, separator in (
        ((*DOTTED_PREFIXES, *WRAPPED_PREFIXES), "."),
        (UNDERSCORED_PREFIXES, "_"),
        (DASHED_PREFIXES, "-"),
    )
    for prefix in prefixes
    for naming in (BFL, DIFFUSERS)
    for style in ("A", "down", "old")
)
"""prefixes, names and suffixes of different tools, as converters combine them"""
LAYOUTS = (*KNOWN_LAYOUTS, *MIXED_LAYOUTS)
EXTERNAL_ALPHA_LAYOUTS = (
    "peft-bare",
    "peft-model",
    "peft-pipeline",
    "peft-wrapped",
    "fal-kontext",
    "bfl-bare",
)
"""layouts of tools that store alpha in a separate file (PEFT's adapter_config.json)"""


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """A key split into module path and suffix; the suffix gives style, kind and role."""

    path: str
    style: str | None
    """suffix style; None if the suffix is used with every style"""
    kind: str | None
    """lora, loha or lokr; None for alpha, which every kind has"""
    role: str
    adapter: str = ""
    """name of the PEFT adapter, if the key contains one"""


@dataclass(frozen=True, slots=True)
class Module:
    """One LoRA module of a file and the canonical slots that it updates, in row order."""

    layout: str
    name: str
    """of the module in the model, with dots; PEFT matches the patterns of a config with it"""
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Target:
    """What a module name means in one layout."""

    layout: str
    style: str
    name: str
    """within the block, with dots"""
    stack: str
    """of the slots"""
    suffixes: tuple[str, ...]
    """of the slots, in row order"""


def _index() -> dict[tuple[str, str, str, str], list[_Target]]:
    """Return (prefix, separator, stack, module) -> what the module means, per layout."""
    index: dict[tuple[str, str, str, str], list[_Target]] = {}
    for layout, prefix, naming, separator, style in LAYOUTS:
        for stack, slot_stack, names in (
            (naming.double, DIFFUSERS.double, naming.double_names),
            (naming.single, DIFFUSERS.single, naming.single_names),
        ):
            for name, suffixes in names.items():
                key = (prefix, separator, stack, name.replace(".", separator))
                index.setdefault(key, []).append(_Target(layout, style, name, slot_stack, suffixes))
    return index


def _choice(words: set[str]) -> str:
    """Return a regular expression that matches any of the words, longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_INDEX = _index()
_PATH = re.compile(
    rf"(?P<prefix>{_choice({prefix for prefix, *_ in _INDEX})})"
    rf"(?P<stack>{_choice({stack for _, _, stack, _ in _INDEX})})"
    r"(?P<separator>[._-])(?P<block>[0-9]{1,4})(?P=separator)(?P<module>.+)"
)


def parse_key(key: str) -> ParsedKey | None:
    """Return a key's module path and role; None if its suffix is not one of SUFFIXES."""
    words = key.rsplit(".", MAX_SUFFIX_WORDS)
    if len(words) == 4 and words[1] in NAMED_SUFFIXES and words[2] and words[3] == "weight":
        return ParsedKey(words[0], *SUFFIXES[NAMED_SUFFIXES[words[1]]], adapter=words[2])
    for first in range(1, len(words)):
        if known := SUFFIXES.get(".".join(words[first:])):
            return ParsedKey(".".join(words[:first]), *known)
    return None


def find_module(path: str, style: str | None) -> Module | None:
    """Return the module of a path in the first layout that has it and the suffix style; None if no layout does."""
    match = _PATH.fullmatch(
        path[:-1] if path.endswith(("_", "-")) else path
    )  # some tools write one at the end
    if match is None:
        return None
    key = (match["prefix"], match["separator"], match["stack"], match["module"])
    for target in _INDEX.get(key, ()):
        if style in (None, target.style):
            slots = tuple(f"{target.stack}.{int(match['block'])}.{suffix}" for suffix in target.suffixes)
            name = f"{_outer_name(match['prefix'])}{match['stack']}.{match['block']}.{target.name}"
            return Module(target.layout, name, slots)
    return None


def _outer_name(prefix: str) -> str:
    """Return the part of a prefix that belongs to the module's name in the model to which PEFT was applied."""
    return prefix.removeprefix(PEFT_PREFIX) if prefix.startswith(PEFT_PREFIX) else ""
