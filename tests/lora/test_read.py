"""Reading whole files: layouts agree, alpha is applied once, and all keys are accounted for."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora, delta
from autolora.lora.read import Reading, read
from autolora.lora.scales import METADATA_KEY
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, kohya, peft, write

Tensors = dict[str, Tensor]
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
TO_Q = "transformer_blocks.0.attn.to_q"


def read_tensors(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Reading:
    return read(write(folder / "lora.safetensors", tensors, metadata), SLOTS, BOUNDS)


def assert_same(actual: Lora, expected: Lora) -> None:
    assert set(actual) == set(expected)
    for name in expected:
        assert torch.allclose(delta(actual[name]), delta(expected[name]), atol=1e-5), name


LAYOUTS: dict[str, Callable[[Lora], Tensors]] = {
    "kohya": kohya,
    "onetrainer": lambda lora: peft(lora, "lora_transformer_", ("lora_down", "lora_up"), "_"),
    "peft": peft,
    "peft-down": lambda lora: peft(lora, names=("lora_down", "lora_up")),
    "peft-bare": lambda lora: peft(lora, ""),
    "peft-model": lambda lora: peft(lora, "base_model.model."),
    "old-diffusers": lambda lora: peft(lora, names=("lora.down", "lora.up")),
    "comfy": lambda lora: dotted(kohya(lora)),
    "bfl-peft": lambda lora: dotted(kohya(lora), ("lora_A", "lora_B")),
}


def dotted(tensors: Tensors, names: tuple[str, str] = ("lora_down", "lora_up")) -> Tensors:
    """Return kohya's tensors under the module names of Black Forest Labs."""
    renamed = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(r"lora_unet_(double|single)_blocks_(\d+)_(\w+)\.(.+)", key)
        assert match is not None
        module = re.sub(r"(attn|mlp|mod|modulation)_", r"\1.", match[3])
        role = match[4].replace("lora_down", names[0]).replace("lora_up", names[1])
        renamed[f"diffusion_model.{match[1]}_blocks.{match[2]}.{module}.{role}"] = tensor
    return renamed


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_have_the_same_updates(tmp_path: Path, layout: str) -> None:
    lora = draw_lora()
    tensors = LAYOUTS[layout](lora)
    reading = read_tensors(tmp_path, tensors)
    assert reading.layout == layout
    assert reading.keys_used == reading.keys_seen == len(tensors)
    assert reading.ignored_keys == ()
    assert_same(reading.lora, lora)


def test_block_diagonal_split_reduces_the_rank(tmp_path: Path) -> None:
    lora = draw_lora(ranks=(2,))
    reading = read_tensors(tmp_path, kohya(lora))
    assert {factors.rank for factors in reading.lora.values()} == {2}


def test_shared_down_is_split_by_rows(tmp_path: Path) -> None:
    down, up = torch.randn(2, 16), torch.randn(112, 2)
    key = "lora_unet_single_blocks_0_linear1"
    reading = read_tensors(tmp_path, {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up})
    names = [
        f"single_transformer_blocks.0.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    ]
    assert torch.allclose(torch.cat([delta(reading.lora[name]) for name in names]), up @ down, atol=1e-6)


def test_xlabs_single_block_has_no_mlp_rows(tmp_path: Path) -> None:
    lora = {
        "single_blocks.0.processor.qkv_lora.down.weight": torch.randn(2, 16),
        "single_blocks.0.processor.qkv_lora.up.weight": torch.randn(48, 2),
    }
    reading = read_tensors(tmp_path, lora)
    assert sorted(name.rpartition(".")[2] for name in reading.lora) == ["to_k", "to_q", "to_v"]


@pytest.mark.parametrize(
    ("alpha", "scale"),
    [
        (None, 1.0),
        (torch.tensor(1.0), 0.5),
        (torch.tensor([4.0]), 2.0),
        (torch.tensor(4, dtype=torch.int64), 2.0),
        (torch.tensor(1.0, dtype=torch.bfloat16), 0.5),
        (torch.tensor(-2.0), -1.0),
    ],
)
def test_alpha_is_applied_once(tmp_path: Path, alpha: Tensor | None, scale: float) -> None:
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    tensors = {f"transformer.{TO_Q}.lora_A.weight": down, f"transformer.{TO_Q}.lora_B.weight": up}
    tensors |= {} if alpha is None else {f"transformer.{TO_Q}.alpha": alpha}
    factors = read_tensors(tmp_path, tensors).lora[TO_Q]
    assert factors.scale == scale
    assert torch.equal(factors.down, down) and torch.equal(factors.up, up)


def test_alpha_in_the_header_applies_to_modules_without_alpha(tmp_path: Path) -> None:
    tensors = {
        key: tensor for key, tensor in peft(draw_lora(ranks=(2,))).items() if not key.endswith("to_q.alpha")
    }
    metadata = {METADATA_KEY: json.dumps({"transformer.lora_alpha": 16})}
    lora = read_tensors(tmp_path, tensors, metadata).lora
    assert {factors.scale for name, factors in lora.items() if name.endswith("to_q")} == {8.0}
    assert lora["transformer_blocks.0.attn.to_v"].scale == draw_lora()["transformer_blocks.0.attn.to_v"].scale


def test_zero_updates_are_absent(tmp_path: Path) -> None:
    lora = draw_lora()
    zero = Factors(lora[TO_Q].down, 0 * lora[TO_Q].up, 1.0)
    tensors = kohya({name: factors for name, factors in lora.items() if name != TO_Q})
    reading = read_tensors(tmp_path, tensors)
    assert TO_Q not in reading.lora and len(reading.lora) == len(SLOTS) - 1
    reading = read_tensors(tmp_path, peft(lora | {TO_Q: zero}))
    assert TO_Q not in reading.lora and reading.keys_used == 3 * len(SLOTS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_tensors_stay_in_their_dtype(tmp_path: Path, dtype: str) -> None:
    kind = getattr(torch, dtype)
    lora = {name: Factors(f.down.to(kind), f.up.to(kind), f.scale) for name, f in draw_lora().items()}
    reading = read_tensors(tmp_path, peft(lora))
    assert reading.dtype == dtype
    assert all(factors.down.dtype == kind for factors in reading.lora.values())
    assert_same(reading.lora, lora)


def test_ignored_families_are_reported(tmp_path: Path) -> None:
    ignored = {
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(1, 4),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 1),
        "lora_unet_img_in.lora_down.weight": torch.ones(1, 4),
        "lora_unet_final_layer_linear.alpha": torch.tensor(1.0),
    }
    tensors = kohya(draw_lora())
    reading = read_tensors(tmp_path, tensors | ignored)
    assert reading.ignored_keys == ("embedder", "final-layer", "text-encoder")
    assert reading.keys_seen == reading.keys_used + 4 == len(tensors) + 4


def test_unknown_keys_within_the_limit_are_ignored(tmp_path: Path) -> None:
    tensors = kohya(draw_lora()) | {"mystery": torch.ones(1)}
    path = write(tmp_path / "lora.safetensors", tensors)
    reading = read(path, SLOTS, replace(BOUNDS, min_known_keys=0.9))
    assert reading.keys_seen == reading.keys_used + 1
    assert reading.warnings == ("some-unknown-keys",)


@pytest.mark.parametrize(
    ("scale", "warnings"),
    [(4.0, ()), (4.5, ("scale-large",)), (0.04, ("scale-small",)), (-5.0, ("scale-large",))],
)
def test_unusual_scales_cause_warnings(tmp_path: Path, scale: float, warnings: tuple[str, ...]) -> None:
    lora = draw_lora()
    unusual = lora | {TO_Q: Factors(lora[TO_Q].down, lora[TO_Q].up, scale)}
    assert read_tensors(tmp_path, peft(unusual)).warnings == warnings


def test_dora_of_a_text_encoder_is_ignored(tmp_path: Path) -> None:
    tensors = kohya(draw_lora()) | {"lora_te1_text_model_encoder_layers_0_mlp_fc1.dora_scale": torch.ones(4)}
    assert read_tensors(tmp_path, tensors).ignored_keys == ("text-encoder",)


def test_reading_is_deterministic(tmp_path: Path) -> None:
    path = write(tmp_path / "lora.safetensors", kohya(draw_lora()))
    first, second = read(path, SLOTS, BOUNDS), read(path, SLOTS, BOUNDS)
    assert list(first.lora) == list(second.lora)
    assert all(torch.equal(first.lora[name].up, second.lora[name].up) for name in first.lora)
