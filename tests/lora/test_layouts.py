"""Files with known updates in every layout, with FLUX.1-dev's real sizes and with a tiny FLUX.

Each slot's B·A must match the known update to 1e-5 of its largest entry. The tiny FLUX is compared entry by entry;
at real sizes, 64 rows are compared by entry and the whole update by the norm of the difference, from the factors.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora, squared_norm
from autolora.lora.formats import LAYOUTS, find_module, parse_key
from autolora.lora.read import read
from autolora.lora.scales import METADATA_KEY
from autolora.slots import FusedSlot, Slot, fused_slots, slots
from tests.lora.writing import (
    BOUNDS,
    CONFIG,
    DOWN_UP,
    PEFT,
    WIDE,
    KeyFormat,
    Tensors,
    draw_fused,
    lay_out,
    write,
)

TOLERANCE = 1e-5
ROWS = 64
BASES: dict[str, tuple[tuple[Slot, ...], tuple[FusedSlot, ...]]] = {
    "flux.1-dev": (slots(WIDE), fused_slots(WIDE)),
    "tiny": (slots(CONFIG), fused_slots(CONFIG)),
}
LORA_A_DEFAULT = ("lora_A.default.weight", "lora_B.default.weight")
Q = "transformer_blocks.0.attn.to_q"


def is_attention(name: str) -> bool:
    return ".attn." in name


def is_xlabs(name: str) -> bool:
    return is_attention(name) or (name.startswith("single") and name.endswith("proj_out"))


@dataclass(frozen=True, slots=True)
class Case:
    """One way to write a LoRA, and the expected layout, ignored keys and warnings."""

    layout: str
    key_format: KeyFormat
    ranks: tuple[int, ...] = (1, 2, 3, 4)
    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    updates: Callable[[str], bool] = lambda name: True
    """which slots the LoRA updates"""
    separate_downs: bool = False
    """whether each part of a fused slot has its own `down`"""
    change: Callable[[Tensors], Tensors] = lambda tensors: tensors
    metadata: Callable[[Lora], dict[str, object]] | None = None
    """the LoraConfig in the header"""
    warnings: tuple[str, ...] = ()
    ignored_keys: tuple[str, ...] = ()


def cast(*dtypes: torch.dtype) -> Callable[[Tensors], Tensors]:
    """Return a change that stores the factors in these types, alternating."""

    def change(tensors: Tensors) -> Tensors:
        factors = [key for key in tensors if not key.endswith("alpha")]
        return tensors | {key: tensors[key].to(dtypes[i % len(dtypes)]) for i, key in enumerate(factors)}

    return change


def alphas(dtype: torch.dtype) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {k: t.to(dtype) if k.endswith("alpha") else t for k, t in tensors.items()}


def with_modules(*modules: str, suffixes: tuple[str, str] = DOWN_UP) -> Callable[[Tensors], Tensors]:
    """Return a change that adds modules of the pipeline that are not slots."""
    return lambda tensors: (
        tensors | {f"{module}.{suffix}": torch.ones(2, 2) for module in modules for suffix in suffixes}
    )


def with_keys(*keys: str, value: float = 0.0) -> Callable[[Tensors], Tensors]:
    """Return a change that adds tensors that update no slot."""
    return lambda tensors: tensors | {key: torch.full((2, 2), value) for key in keys}


def as_convolutions(tensors: Tensors) -> Tensors:
    """Return the tensors with factors of the shape of 1 × 1 convolutions."""
    return {key: t if key.endswith("alpha") else t[:, :, None, None] for key, t in tensors.items()}


def config_of(lora: Lora) -> dict[str, object]:
    """Return a LoraConfig with a rank_pattern and an alpha_pattern, for modules that all differ."""
    ranks = {name: factors.rank for name, factors in lora.items()}
    patterns = {name: factors.scale * factors.rank for name, factors in lora.items()}
    return {"transformer.r": 9, "transformer.lora_alpha": 9, "transformer.rank_pattern": ranks,
            "transformer.alpha_pattern": patterns}  # fmt: skip


def rank_stabilized(lora: Lora) -> dict[str, object]:
    """Return the LoraConfig of rsLoRA, whose scale is alpha / √rank, for modules of equal rank and scale."""
    factors = next(iter(lora.values()))
    return {"r": factors.rank, "lora_alpha": factors.scale * factors.rank**0.5, "use_rslora": True}


KOHYA = KeyFormat("lora_unet_", "bfl", "_", DOWN_UP, alpha=True)
DIFFUSERS = KeyFormat("transformer.", "diffusers")
LYCORIS = KeyFormat("lycoris_", "diffusers", "_", DOWN_UP, alpha=True)
WITH_ALPHA = replace(DIFFUSERS, alpha=True)
SCALE_ASSUMED = ("scale-assumed",)
MODULES = ("lora_unet_double_blocks_0_img_attn_qkv", "lora_unet_single_blocks_0_linear1")
TEXT_ENCODER_MODULES = (
    "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
    "lora_te2_encoder_block_0_layer_0_SelfAttention_q",
    "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_0",
)
NON_SLOT_MODULES = (
    "img_in", "txt_in", "time_in_in_layer", "time_in_out_layer", "vector_in_in_layer", "guidance_in_out_layer",
    "final_layer_linear", "final_layer_adaLN_modulation_1",
)  # fmt: skip

CASES: dict[str, Case] = {
    "kohya": Case("kohya", KOHYA),
    "kohya without alpha": Case("kohya", replace(KOHYA, alpha=False)),
    "kohya split_qkv": Case("kohya", KOHYA, separate_downs=True),
    "kohya with text encoders": Case(
        "kohya",
        KOHYA,
        change=with_modules(*TEXT_ENCODER_MODULES),
        ignored_keys=("text-encoder",),
        warnings=("ignored-keys",),
    ),
    "kohya with embedders and final layer": Case(
        "kohya",
        KOHYA,
        change=with_modules(*(f"lora_unet_{module}" for module in NON_SLOT_MODULES)),
        ignored_keys=("embedder", "final-layer"),
        warnings=("ignored-keys",),
    ),
    "kohya with alphas 94 and 123": Case(
        "kohya",
        KOHYA,
        ranks=(94, 123),
        scales=(1.0,),
        updates=lambda name: name.endswith(("to_q", "ff.net.2")),
    ),
    "kohya with mixed ranks and alphas": Case(
        "kohya", KOHYA, ranks=(3, 1, 4, 1, 5), scales=(2.0, 0.75, 0.125)
    ),
    "kohya with negative alphas": Case("kohya", KOHYA, scales=(1.0, -0.75)),
    "kohya with integer alphas": Case("kohya", KOHYA, scales=(1.0, 2.0), change=alphas(torch.int64)),
    "kohya with bf16 alphas": Case("kohya", KOHYA, change=alphas(torch.bfloat16)),
    "kohya without k": Case("kohya", KOHYA, updates=lambda name: "to_k" not in name and "add_k" not in name),
    "kohya under diffusers' names": Case("kohya-diffusers", replace(LYCORIS, prefix="lora_unet_")),
    "comfy": Case("comfy", KeyFormat("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True)),
    "comfy with text encoders": Case(
        "comfy",
        KeyFormat("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True),
        change=with_modules("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"),
        ignored_keys=("text-encoder",),
        warnings=("ignored-keys",),
    ),
    "comfy under diffusers' names": Case(
        "comfy-diffusers", KeyFormat("diffusion_model.", "diffusers", alpha=True)
    ),
    "comfy, down and up under diffusers' names": Case(
        "comfy-diffusers-down", KeyFormat("diffusion_model.", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "bfl-peft": Case("bfl-peft", KeyFormat("diffusion_model.", "bfl")),
    "bfl-peft with alpha": Case("bfl-peft", KeyFormat("diffusion_model.", "bfl", alpha=True)),
    "bfl-transformer": Case("bfl-transformer", KeyFormat("transformer.", "bfl")),
    "bfl-transformer, down and up": Case(
        "onetrainer-bfl", KeyFormat("transformer.", "bfl", ".", DOWN_UP, alpha=True)
    ),
    "bfl without prefix": Case("bfl-bare", KeyFormat("", "bfl"), warnings=SCALE_ASSUMED),
    "bfl without prefix, down and up": Case("bfl-bare-down", KeyFormat("", "bfl", ".", DOWN_UP, alpha=True)),
    "fal-kontext": Case("fal-kontext", KeyFormat("base_model.model.", "bfl"), warnings=SCALE_ASSUMED),
    "ai-toolkit": Case("peft", DIFFUSERS),
    "diffusers with alpha": Case("peft", WITH_ALPHA),
    "diffusers, attention only": Case("peft", WITH_ALPHA, updates=is_attention),
    "diffusers, q and v only": Case("peft", WITH_ALPHA, updates=lambda name: name.endswith(("to_q", "to_v"))),
    "diffusers with adapter name": Case("peft", replace(DIFFUSERS, suffixes=LORA_A_DEFAULT)),
    "diffusers with an adapter name of its own": Case(
        "peft", replace(DIFFUSERS, suffixes=("lora_A.my-style.weight", "lora_B.my-style.weight"))
    ),
    "diffusers without .weight": Case("peft", replace(DIFFUSERS, suffixes=("lora_A", "lora_B"))),
    "PEFT patterns in the header": Case("peft", DIFFUSERS, metadata=config_of),
    "rsLoRA in the header": Case("peft", DIFFUSERS, ranks=(4,), scales=(1.5,), metadata=rank_stabilized),
    "diffusers with fused q, k and v": Case("peft", KeyFormat("transformer.", "diffusers-qkv", alpha=True)),
    "SimpleTuner LyCORIS with fused q, k and v": Case("lycoris", replace(LYCORIS, names="diffusers-qkv")),
    "diffusers, down and up": Case(
        "peft-down", KeyFormat("transformer.", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "PEFT without prefix": Case("peft-bare", KeyFormat("", "diffusers"), warnings=SCALE_ASSUMED),
    "PEFT without prefix, down and up": Case(
        "peft-bare-down", KeyFormat("", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "PEFT model": Case("peft-model", KeyFormat("base_model.model.", "diffusers"), warnings=SCALE_ASSUMED),
    "PEFT pipeline": Case(
        "peft-pipeline", KeyFormat("base_model.model.transformer.", "diffusers"), warnings=SCALE_ASSUMED
    ),
    "PEFT on ComfyUI's names": Case(
        "peft-wrapped", KeyFormat("base_model.model.diffusion_model.", "bfl"), warnings=SCALE_ASSUMED
    ),
    "PEFT on ComfyUI's prefix and diffusers' names": Case(
        "peft-wrapped", KeyFormat("base_model.model.diffusion_model.", "diffusers"), warnings=SCALE_ASSUMED
    ),
    "early diffusers": Case(
        "old-diffusers", KeyFormat("transformer.", "diffusers", ".", ("lora.down.weight", "lora.up.weight"))
    ),
    "OneTrainer": Case("onetrainer", replace(LYCORIS, prefix="lora_transformer_")),
    "OneTrainer, attention only": Case(
        "onetrainer", replace(LYCORIS, prefix="lora_transformer_"), updates=is_attention
    ),
    "OneTrainer under BFL's names": Case(
        "onetrainer-bfl", KeyFormat("transformer.", "numbered", ".", DOWN_UP, alpha=True), separate_downs=True
    ),
    "OneTrainer under BFL's names, mixed": Case(
        "onetrainer-bfl", KeyFormat("lora_transformer_", "numbered", ".", DOWN_UP, alpha=True)
    ),
    "SimpleTuner LyCORIS LoCon": Case("lycoris", LYCORIS),
    "xlabs": Case("xlabs", KeyFormat("", "xlabs", ".", ("down.weight", "up.weight")), updates=is_xlabs),
    "xlabs with prefix": Case(
        "xlabs", KeyFormat("diffusion_model.", "xlabs", ".", ("down.weight", "up.weight")), updates=is_xlabs
    ),
    "kohya's names with A and B": Case("mixed", replace(KOHYA, suffixes=PEFT)),
    "kohya's names with A and B, no alpha": Case("mixed", replace(KOHYA, suffixes=PEFT, alpha=False)),
    "kohya's prefix, diffusers' names, A and B": Case("mixed", KeyFormat("lora_unet_", "diffusers", "_")),
    "checkpoint's prefix": Case("mixed", KeyFormat("model.diffusion_model.", "bfl")),
    "checkpoint's prefix, down and up": Case(
        "mixed", KeyFormat("model.diffusion_model.", "bfl", ".", DOWN_UP, alpha=True)
    ),
    "checkpoint's prefix, diffusers' names": Case("mixed", KeyFormat("model.diffusion_model.", "diffusers")),
    "unet": Case("mixed", KeyFormat("unet.", "diffusers")),
    "unet, BFL's names, down and up": Case("mixed", KeyFormat("unet.", "bfl", ".", DOWN_UP, alpha=True)),
    "unet, early diffusers": Case(
        "mixed", KeyFormat("unet.", "diffusers", ".", ("lora.down.weight", "lora.up.weight"))
    ),
    "kohya as convolutions": Case("kohya", KOHYA, change=as_convolutions),
    "kohya with zero biases": Case(
        "kohya",
        KOHYA,
        change=with_keys(*(f"{module}.diff_b" for module in MODULES)),
        ignored_keys=("zero-difference",),
        warnings=("ignored-keys",),
    ),
    "kohya with zero differences": Case(
        "kohya",
        KOHYA,
        change=with_keys(*(f"{module}.{suffix}" for module in MODULES for suffix in ("diff_b", "diff"))),
        ignored_keys=("zero-difference",),
        warnings=("ignored-keys",),
    ),
    "comfy with differences of norms": Case(
        "comfy",
        KeyFormat("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True),
        change=with_keys(
            "diffusion_model.double_blocks.0.img_attn.norm.query_norm.diff",
            "diffusion_model.double_blocks.0.txt_attn.norm.key_norm.scale.diff",
            "diffusion_model.single_blocks.0.norm.key_norm.diff",
            value=0.5,
        ),
        ignored_keys=("norm",),
        warnings=("ignored-keys",),
    ),
    "attention only, with leftover alphas": Case(
        "kohya",
        KOHYA,
        updates=is_attention,
        change=with_keys(
            "lora_unet_double_blocks_0_img_mlp_0.alpha", "lora_unet_single_blocks_0_linear2.alpha", value=4
        ),
        ignored_keys=("leftover-alpha",),
        warnings=("ignored-keys",),
    ),
    "DiffSynth": Case("native", KeyFormat("", "native")),
    "DiffSynth with adapter name": Case("native", KeyFormat("", "native", ".", LORA_A_DEFAULT)),
    "bf16": Case("peft", WITH_ALPHA, change=cast(torch.bfloat16)),
    "fp16": Case("peft", WITH_ALPHA, change=cast(torch.float16)),
    "fp64": Case("peft", WITH_ALPHA, change=cast(torch.float64)),
    "fp8": Case("peft", WITH_ALPHA, change=cast(torch.float8_e4m3fn), warnings=("fp8",)),
    "fp8 e5m2": Case("peft", WITH_ALPHA, change=cast(torch.float8_e5m2), warnings=("fp8",)),
    "mixed types": Case("peft", WITH_ALPHA, change=cast(torch.float32, torch.bfloat16, torch.float16)),
}
MATRIX = [(case, base) for case in CASES for base in BASES]


@pytest.mark.parametrize(("name", "base"), MATRIX, ids=[f"{case} / {base}" for case, base in MATRIX])
def test_updates_are_read_as_written(tmp_path: Path, name: str, base: str) -> None:
    case, (known, fused) = CASES[name], BASES[base]
    expected = draw(case, fused)
    written = expected if case.metadata is None else unscaled(expected)
    tensors = case.change(lay_out(written, case.key_format, fused))
    metadata = {METADATA_KEY: json.dumps(case.metadata(expected))} if case.metadata else None
    reading = read(write(tmp_path / "l.safetensors", tensors, metadata), known, replace(BOUNDS, max_rank=256))
    assert (reading.layout, reading.ignored_keys, reading.warnings) == (
        case.layout,
        case.ignored_keys,
        case.warnings,
    )
    assert reading.keys_seen == len(tensors)
    assert reading.keys_used == len(tensors) - len([key for key in tensors if tensors[key].shape == (2, 2)])
    assert_close(reading.lora, expected, base)


def draw(case: Case, fused: tuple[FusedSlot, ...]) -> Lora:
    lora = {name: f for name, f in draw_fused(fused, case.ranks, case.scales).items() if case.updates(name)}
    if case.separate_downs:
        lora = {name: replace(f, down=f.down.roll(i, 1)) for i, (name, f) in enumerate(lora.items())}
    return lora


def unscaled(lora: Lora) -> Lora:
    return {name: replace(factors, scale=1.0) for name, factors in lora.items()}


def assert_close(actual: Mapping[str, Factors], expected: Mapping[str, Factors], base: str) -> None:
    """Compare the slots and their updates, by entry and as a whole."""
    assert set(actual) == set(expected)
    for name, truth in expected.items():
        factors, rows = actual[name], slice(None) if base == "tiny" else sample_rows(len(truth.up))
        update = truth.scale * (truth.up[rows].double() @ truth.down.double())
        error = factors.scale * (factors.up[rows].double() @ factors.down.double()) - update
        assert error.abs().max() <= TOLERANCE * update.abs().max(), name
        assert squared_norm(difference(factors, truth)) <= TOLERANCE**2 * squared_norm(truth), name


def sample_rows(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(count))[:ROWS]


def difference(a: Factors, b: Factors) -> Factors:
    """Return the update a - b as stacked factors."""
    up = torch.cat((a.scale * a.up.double(), -b.scale * b.up.double()), dim=1)
    return Factors(torch.cat((a.down.double(), b.down.double())), up, 1.0)


def test_every_layout_has_a_case() -> None:
    assert {case.layout for case in CASES.values()} == {layout for layout, *_ in LAYOUTS}


def test_every_layout_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "howto" / "layouts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\| `(\S+)` \|", text, flags=re.MULTILINE)
    assert {layout for layout, _ in rows} == {layout for layout, *_ in LAYOUTS}
    for layout, key in rows:
        part = parse_key(key)
        module = find_module(part.path, part.style) if part else None
        assert module is not None and module.layout == layout, key
