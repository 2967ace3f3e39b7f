"""Formats: which tensor of a LoRA file feeds which canonical slots, as tables.

A key is prefix + module path + suffix. The prefix and the names in the path make the layout, the suffix
makes the role (down, up, alpha). Module paths are anchored patterns: underscores are never replaced blindly.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from autolora.slots import DOUBLE, SINGLE

# suffix, style, role; the longer of two that fit comes first
SUFFIXES = (
    (".lora_A.default.weight", "A", "down"),
    (".lora_B.default.weight", "A", "up"),
    (".lora_A.weight", "A", "down"),
    (".lora_B.weight", "A", "up"),
    (".lora_down.weight", "down", "down"),
    (".lora_up.weight", "down", "up"),
    (".lora.down.weight", "old", "down"),
    (".lora.up.weight", "old", "up"),
    (".down.weight", "processor", "down"),
    (".up.weight", "processor", "up"),
    (".alpha", None, "alpha"),
)

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
XLABS_SINGLE = {
    "processor.qkv_lora": ("attn.to_q", "attn.to_k", "attn.to_v"),  # without the mlp rows of the fused slot
    "processor.proj_lora": ("proj_out",),
}

Names = Mapping[str, tuple[str, ...]]
"""module name within a block -> suffixes of the canonical slots that it feeds, in row order"""


def _parts(table: tuple[tuple[str, int, int, str], ...]) -> Names:
    """Return fused suffix -> canonical suffixes, from a table of autolora.slots."""
    return {fused: tuple(row[0] for row in table if row[3] == fused) for *_, fused in table}


def _same(table: tuple[tuple[str, int, int, str], ...]) -> Names:
    return {row[0]: (row[0],) for row in table}


def _via(names: Mapping[str, str], parts: Names) -> Names:
    return {name: parts[fused] for name, fused in names.items()}


@dataclass(frozen=True, slots=True)
class Naming:
    """How one family of tools names the two stacks and the modules in a block."""

    double: str
    single: str
    double_names: Names
    single_names: Names


DIFFUSERS = Naming("transformer_blocks", "single_transformer_blocks", _same(DOUBLE), _same(SINGLE))
NATIVE = Naming("blocks", "single_blocks", _parts(DOUBLE), _parts(SINGLE))
BFL = Naming(
    "double_blocks", "single_blocks", _via(BFL_DOUBLE, _parts(DOUBLE)), _via(BFL_SINGLE, _parts(SINGLE))
)
XLABS = Naming("double_blocks", "single_blocks", _via(XLABS_DOUBLE, _parts(DOUBLE)), XLABS_SINGLE)

# layout, prefix, naming, separator within a module path, style of its suffixes
LAYOUTS = (
    ("kohya", "lora_unet_", BFL, "_", "down"),
    ("onetrainer", "lora_transformer_", DIFFUSERS, "_", "down"),
    ("lycoris", "lycoris_", DIFFUSERS, "_", "down"),
    ("comfy", "diffusion_model.", BFL, ".", "down"),
    ("bfl-peft", "diffusion_model.", BFL, ".", "A"),
    ("bfl-bare", "", BFL, ".", "A"),
    ("bfl-bare-down", "", BFL, ".", "down"),
    ("fal-kontext", "base_model.model.", BFL, ".", "A"),
    ("peft", "transformer.", DIFFUSERS, ".", "A"),
    ("peft-down", "transformer.", DIFFUSERS, ".", "down"),
    ("old-diffusers", "transformer.", DIFFUSERS, ".", "old"),
    ("peft-bare", "", DIFFUSERS, ".", "A"),
    ("peft-bare-down", "", DIFFUSERS, ".", "down"),
    ("peft-model", "base_model.model.", DIFFUSERS, ".", "A"),
    ("peft-pipeline", "base_model.model.transformer.", DIFFUSERS, ".", "A"),
    ("comfy-diffusers", "diffusion_model.", DIFFUSERS, ".", "A"),
    ("xlabs", "", XLABS, ".", "processor"),
    ("xlabs", "diffusion_model.", XLABS, ".", "processor"),
    ("native", "", NATIVE, ".", "A"),
)

_OUTER = r"^(?:lora_unet_|lora_transformer_|lycoris_|transformer\.|diffusion_model\.|base_model\.model\.)*"
# family of keys that belong to the pipeline but to no slot; they are set aside, not read
FAMILIES = (
    ("text-encoder", re.compile(r"^(lora_te\d?_|(base_model\.model\.)?text_encoders?(_\d)?\.|te\d?\.)")),
    ("text-embedding", re.compile(r"^(bundle_emb\.|emb_params$|clip_[lg]$|t5(xxl)?$)")),
    (
        "embedder",
        re.compile(
            _OUTER
            + r"((img|txt|time|vector|guidance)_in|x_embedder|context_embedder|time_text_embed|pos_embed)[._]"
        ),
    ),
    ("final-layer", re.compile(_OUTER + r"(final_layer|norm_out|proj_out)[._]")),
)

# reason code, suffixes of other parametrisations
PARAMETRISATIONS = (
    ("dora", re.compile(r"\.(dora_scale|lora_magnitude_vector(\.default)?(\.weight)?)$")),
    ("lokr", re.compile(r"\.lokr_(w[12](_[ab])?|t[12])$")),
    ("loha", re.compile(r"\.hada_(w[12]_[ab]|t[12])$")),
    ("oft", re.compile(r"\.b?oft_[A-Za-z]+(\.default)?(\.weight)?$")),
    ("weight-diff", re.compile(r"\.(diff|diff_b|set_weight)$")),
    ("lora-bias", re.compile(r"\.lora_(B|up)(\.default)?\.bias$")),
)

# base model, what gives its modules away; keys that a FLUX.1 file cannot have
BASES = (
    ("Stable Diffusion 1.x, 2.x or XL", re.compile(r"(^|[._])(down|up|input|output)_blocks[._]\d")),
    ("Stable Diffusion 1.x, 2.x or XL", re.compile(r"(^|[._])(mid_block|middle_block)[._]")),
    ("Stable Diffusion 3", re.compile(r"(^|[._])joint_blocks[._]\d|transformer_blocks[._]\d+[._]attn2[._]")),
    ("FLUX.2", re.compile(r"stream_modulation|to_qkv_mlp_proj|ff(_context)?[._]linear_(in|out)[._]")),
    ("Qwen-Image", re.compile(r"transformer_blocks[._]\d+[._](img|txt)_(mlp[._]net|mod[._]1)")),
    ("Hunyuan Video", re.compile(r"(img|txt)_mlp[._]fc\d|token_refiner")),
    ("Chroma", re.compile(r"distilled_guidance_layer")),
    ("Wan", re.compile(r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn|ffn)[._]")),
    ("Lumina or Z-Image", re.compile(r"(^|[._])layers[._]\d+[._](attention|feed_forward)[._]")),
)


@dataclass(frozen=True, slots=True)
class Module:
    """One LoRA module of a file and the canonical slots it feeds, in the row order of its `up`."""

    layout: str
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one key is: the path of its module, the style of its suffix, and down, up or alpha."""

    path: str
    style: str | None
    """None for alpha, which looks the same in every style"""
    role: str


def find_part(key: str) -> Part | None:
    """Split a key into module path and role; None when its suffix is none of a LoRA's."""
    for suffix, style, role in SUFFIXES:
        if key.endswith(suffix):
            return Part(key.removesuffix(suffix), style, role)
    return None


def find_module(path: str, style: str | None) -> Module | None:
    """Return the module a path names, in the first layout that knows it; None when none does."""
    for layout, prefix, naming, separator, layout_style in LAYOUTS:
        if style in (None, layout_style) and path.startswith(prefix):
            names = _slots(path.removeprefix(prefix), naming, separator)
            if names:
                return Module(layout, names)
    return None


def find_family(key: str) -> str | None:
    """Return the family of a key that belongs to the pipeline but to no slot; None when it is in none."""
    return next((family for family, pattern in FAMILIES if pattern.search(key)), None)


def find_parametrisation(key: str) -> str | None:
    """Return the reason code of a parametrisation that is no low-rank update; None when it is none."""
    return next((code for code, pattern in PARAMETRISATIONS if pattern.search(key)), None)


def find_base(key: str) -> str | None:
    """Return the other base model that a key gives away; None when it gives none away."""
    return next((base for base, pattern in BASES if pattern.search(key)), None)


def _slots(path: str, naming: Naming, separator: str) -> tuple[str, ...]:
    """Return the canonical slot names of a module path; empty when the naming does not know it."""
    mark = re.escape(separator)
    match = re.fullmatch(rf"([a-z_]+?){mark}([0-9]{{1,4}}){mark}(.+)", path)
    if match is None:
        return ()
    stack, block, module = match[1], int(match[2]), match[3]
    if stack == naming.double:
        home, names = "transformer_blocks", naming.double_names
    elif stack == naming.single:
        home, names = "single_transformer_blocks", naming.single_names
    else:
        return ()
    spelled = {name.replace(".", separator): suffixes for name, suffixes in names.items()}
    return tuple(f"{home}.{block}.{suffix}" for suffix in spelled.get(module, ()))
