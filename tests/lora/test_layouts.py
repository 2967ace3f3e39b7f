"""Layout × truth: files with known updates, in every layout, at FLUX.1-dev's real sizes and on a tiny FLUX.

Each parsed slot's B·A is compared with the truth to 1e-5 of its largest entry: all entries on the tiny FLUX; at
real sizes the entries of 64 rows, and all of them at once by the norm of the difference, from the factors.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora, energy
from autolora.lora.formats import LAYOUTS, find_module, find_part
from autolora.lora.read import read
from autolora.lora.scales import METADATA_KEY
from autolora.slots import FusedSlot, Slot, fused_slots, slots
from tests.lora.writing import BOUNDS, CONFIG, DOWN_UP, WIDE, Form, Tensors, draw_fused, lay_out, write

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
    """One way to write the truth."""

    layout: str
    form: Form
    ranks: tuple[int, ...] = (1, 2, 3, 4)
    scales: tuple[float, ...] = (0.5, 1.0, 1.5)
    keep: Callable[[str], bool] = lambda name: True
    """which slots the LoRA updates"""
    own: bool = False
    """the parts of a fused slot have a `down` each"""
    change: Callable[[Tensors], Tensors] = lambda tensors: tensors
    metadata: Callable[[Lora], dict[str, object]] | None = None
    """the LoraConfig in the header"""
    warnings: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()


def cast(*dtypes: torch.dtype) -> Callable[[Tensors], Tensors]:
    """Return a change that stores the factors in these types, in turn."""

    def change(tensors: Tensors) -> Tensors:
        factors = [key for key in tensors if not key.endswith("alpha")]
        return tensors | {key: tensors[key].to(dtypes[i % len(dtypes)]) for i, key in enumerate(factors)}

    return change


def alphas(dtype: torch.dtype) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {k: t.to(dtype) if k.endswith("alpha") else t for k, t in tensors.items()}


def beside(*modules: str, suffixes: tuple[str, str] = DOWN_UP) -> Callable[[Tensors], Tensors]:
    """Return a change that adds modules of the pipeline that are no slots."""
    return lambda tensors: (
        tensors | {f"{module}.{suffix}": torch.ones(2, 2) for module in modules for suffix in suffixes}
    )


def config_of(lora: Lora) -> dict[str, object]:
    """Return a LoraConfig with a rank_pattern and an alpha_pattern: no two modules need be alike."""
    ranks = {name: factors.rank for name, factors in lora.items()}
    patterns = {name: factors.scale * factors.rank for name, factors in lora.items()}
    return {"transformer.r": 9, "transformer.lora_alpha": 9, "transformer.rank_pattern": ranks,
            "transformer.alpha_pattern": patterns}  # fmt: skip


def stabilised(lora: Lora) -> dict[str, object]:
    """Return the LoraConfig of rsLoRA: alpha over the root of the rank, the same everywhere."""
    factors = next(iter(lora.values()))
    return {"r": factors.rank, "lora_alpha": factors.scale * factors.rank**0.5, "use_rslora": True}


KOHYA = Form("lora_unet_", "bfl", "_", DOWN_UP, alpha=True)
DIFFUSERS = Form("transformer.", "diffusers")
LYCORIS = Form("lycoris_", "diffusers", "_", DOWN_UP, alpha=True)
WITH_ALPHA = replace(DIFFUSERS, alpha=True)
ASSUMED = ("scale-assumed",)
TEXT = ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", "lora_te2_encoder_block_0_layer_0_SelfAttention_q",
        "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_0")  # fmt: skip
OUTER = ("img_in", "txt_in", "time_in_in_layer", "time_in_out_layer", "vector_in_in_layer", "guidance_in_out_layer",
         "final_layer_linear", "final_layer_adaLN_modulation_1")  # fmt: skip

CASES: dict[str, Case] = {
    "kohya": Case("kohya", KOHYA),
    "kohya without alpha": Case("kohya", replace(KOHYA, alpha=False)),
    "kohya split_qkv": Case("kohya", KOHYA, own=True),
    "kohya with text encoders": Case(
        "kohya", KOHYA, change=beside(*TEXT), set_aside=("text-encoder",), warnings=("set-aside",)
    ),
    "kohya with embedders and final layer": Case(
        "kohya",
        KOHYA,
        change=beside(*(f"lora_unet_{module}" for module in OUTER)),
        set_aside=("embedder", "final-layer"),
        warnings=("set-aside",),
    ),
    "kohya with alphas 94 and 123": Case(
        "kohya", KOHYA, ranks=(94, 123), scales=(1.0,), keep=lambda name: name.endswith(("to_q", "ff.net.2"))
    ),
    "kohya with mixed ranks and alphas": Case(
        "kohya", KOHYA, ranks=(3, 1, 4, 1, 5), scales=(2.0, 0.75, 0.125)
    ),
    "kohya with negative alphas": Case("kohya", KOHYA, scales=(1.0, -0.75)),
    "kohya with whole alphas": Case("kohya", KOHYA, scales=(1.0, 2.0), change=alphas(torch.int64)),
    "kohya with bf16 alphas": Case("kohya", KOHYA, change=alphas(torch.bfloat16)),
    "kohya without k": Case("kohya", KOHYA, keep=lambda name: "to_k" not in name and "add_k" not in name),
    "kohya under diffusers' names": Case("kohya-diffusers", replace(LYCORIS, prefix="lora_unet_")),
    "comfy": Case("comfy", Form("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True)),
    "comfy with text encoders": Case(
        "comfy",
        Form("diffusion_model.", "bfl", ".", DOWN_UP, alpha=True),
        change=beside("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"),
        set_aside=("text-encoder",),
        warnings=("set-aside",),
    ),
    "comfy under diffusers' names": Case(
        "comfy-diffusers", Form("diffusion_model.", "diffusers", alpha=True)
    ),
    "comfy, down and up under diffusers' names": Case(
        "comfy-diffusers-down", Form("diffusion_model.", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "bfl-peft": Case("bfl-peft", Form("diffusion_model.", "bfl")),
    "bfl-peft with alpha": Case("bfl-peft", Form("diffusion_model.", "bfl", alpha=True)),
    "bfl-transformer": Case("bfl-transformer", Form("transformer.", "bfl")),
    "bfl without prefix": Case("bfl-bare", Form("", "bfl"), warnings=ASSUMED),
    "bfl without prefix, down and up": Case("bfl-bare-down", Form("", "bfl", ".", DOWN_UP, alpha=True)),
    "fal-kontext": Case("fal-kontext", Form("base_model.model.", "bfl"), warnings=ASSUMED),
    "ai-toolkit": Case("peft", DIFFUSERS),
    "diffusers with alpha": Case("peft", WITH_ALPHA),
    "diffusers, attention only": Case("peft", WITH_ALPHA, keep=is_attention),
    "diffusers, q and v only": Case("peft", WITH_ALPHA, keep=lambda name: name.endswith(("to_q", "to_v"))),
    "diffusers with adapter name": Case("peft", replace(DIFFUSERS, suffixes=LORA_A_DEFAULT)),
    "diffusers without .weight": Case("peft", replace(DIFFUSERS, suffixes=("lora_A", "lora_B"))),
    "PEFT patterns in the header": Case("peft", DIFFUSERS, metadata=config_of),
    "rsLoRA in the header": Case("peft", DIFFUSERS, ranks=(4,), scales=(1.5,), metadata=stabilised),
    "diffusers with fused q, k and v": Case("peft", Form("transformer.", "diffusers-qkv", alpha=True)),
    "SimpleTuner LyCORIS with fused q, k and v": Case("lycoris", replace(LYCORIS, names="diffusers-qkv")),
    "diffusers, down and up": Case("peft-down", Form("transformer.", "diffusers", ".", DOWN_UP, alpha=True)),
    "PEFT without prefix": Case("peft-bare", Form("", "diffusers"), warnings=ASSUMED),
    "PEFT without prefix, down and up": Case(
        "peft-bare-down", Form("", "diffusers", ".", DOWN_UP, alpha=True)
    ),
    "PEFT model": Case("peft-model", Form("base_model.model.", "diffusers"), warnings=ASSUMED),
    "PEFT pipeline": Case(
        "peft-pipeline", Form("base_model.model.transformer.", "diffusers"), warnings=ASSUMED
    ),
    "early diffusers": Case(
        "old-diffusers", Form("transformer.", "diffusers", ".", ("lora.down.weight", "lora.up.weight"))
    ),
    "OneTrainer": Case("onetrainer", replace(LYCORIS, prefix="lora_transformer_")),
    "OneTrainer, attention only": Case(
        "onetrainer", replace(LYCORIS, prefix="lora_transformer_"), keep=is_attention
    ),
    "OneTrainer under BFL's names": Case(
        "onetrainer-bfl", Form("transformer.", "cut", ".", DOWN_UP, alpha=True), own=True
    ),
    "OneTrainer under BFL's names, mixed": Case(
        "onetrainer-bfl", Form("lora_transformer_", "cut", ".", DOWN_UP, alpha=True)
    ),
    "SimpleTuner LyCORIS LoCon": Case("lycoris", LYCORIS),
    "xlabs": Case("xlabs", Form("", "xlabs", ".", ("down.weight", "up.weight")), keep=is_xlabs),
    "xlabs with prefix": Case(
        "xlabs", Form("diffusion_model.", "xlabs", ".", ("down.weight", "up.weight")), keep=is_xlabs
    ),
    "DiffSynth": Case("native", Form("", "native")),
    "DiffSynth with adapter name": Case("native", Form("", "native", ".", LORA_A_DEFAULT)),
    "bf16": Case("peft", WITH_ALPHA, change=cast(torch.bfloat16)),
    "fp16": Case("peft", WITH_ALPHA, change=cast(torch.float16)),
    "fp64": Case("peft", WITH_ALPHA, change=cast(torch.float64)),
    "fp8": Case("peft", WITH_ALPHA, change=cast(torch.float8_e4m3fn), warnings=("fp8",)),
    "fp8 of the other kind": Case("peft", WITH_ALPHA, change=cast(torch.float8_e5m2), warnings=("fp8",)),
    "mixed types": Case("peft", WITH_ALPHA, change=cast(torch.float32, torch.bfloat16, torch.float16)),
}
MATRIX = [(case, base) for case in CASES for base in BASES]


@pytest.mark.parametrize(("name", "base"), MATRIX, ids=[f"{case} / {base}" for case, base in MATRIX])
def test_updates_are_read_as_they_were_written(tmp_path: Path, name: str, base: str) -> None:
    case, (known, fused) = CASES[name], BASES[base]
    truth = draw(case, fused)
    tensors = case.change(lay_out(truth if case.metadata is None else unscaled(truth), case.form, fused))
    metadata = {METADATA_KEY: json.dumps(case.metadata(truth))} if case.metadata else None
    reading = read(write(tmp_path / "l.safetensors", tensors, metadata), known, replace(BOUNDS, max_rank=256))
    assert (reading.layout, reading.set_aside, reading.warnings) == (
        case.layout,
        case.set_aside,
        case.warnings,
    )
    assert reading.keys_seen == len(tensors)
    assert reading.keys_used == len(tensors) - len([key for key in tensors if tensors[key].shape == (2, 2)])
    assert_alike(reading.lora, truth, base)


def draw(case: Case, fused: tuple[FusedSlot, ...]) -> Lora:
    lora = {name: one for name, one in draw_fused(fused, case.ranks, case.scales).items() if case.keep(name)}
    if case.own:
        lora = {name: replace(one, down=one.down.roll(i, 1)) for i, (name, one) in enumerate(lora.items())}
    return lora


def unscaled(lora: Lora) -> Lora:
    return {name: replace(factors, scale=1.0) for name, factors in lora.items()}


def assert_alike(found: Mapping[str, Factors], truth: Mapping[str, Factors], base: str) -> None:
    """Compare all updates, entry by entry and as a whole; absent where the truth is absent."""
    assert set(found) == set(truth)
    for name, wanted in truth.items():
        ours, rows = found[name], slice(None) if base == "tiny" else sample(len(wanted.up))
        expected = wanted.scale * (wanted.up[rows].double() @ wanted.down.double())
        error = ours.scale * (ours.up[rows].double() @ ours.down.double()) - expected
        assert error.abs().max() <= TOLERANCE * expected.abs().max(), name
        assert energy(difference(ours, wanted)) <= TOLERANCE**2 * energy(wanted), name


def sample(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(count))[:ROWS]


def difference(a: Factors, b: Factors) -> Factors:
    """Return the update a - b, by stacked factors."""
    up = torch.cat((a.scale * a.up.double(), -b.scale * b.up.double()), dim=1)
    return Factors(torch.cat((a.down.double(), b.down.double())), up, 1.0)


def test_every_layout_of_the_table_is_in_the_matrix() -> None:
    assert {case.layout for case in CASES.values()} == {layout for layout, *_ in LAYOUTS}


def test_every_layout_of_the_table_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs" / "howto" / "layouts.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \|[^|]*\| `(\S+)` \|", text, flags=re.MULTILINE)
    assert {layout for layout, _ in rows} == {layout for layout, *_ in LAYOUTS}
    for layout, key in rows:
        part = find_part(key)
        module = find_module(part.path, part.style) if part else None
        assert module is not None and module.layout == layout, key
