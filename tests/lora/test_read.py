"""Reading whole files: layouts agree, alpha is applied once, and all keys are accounted for."""

import json
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


def test_block_diagonal_split_reduces_the_rank(tmp_path: Path) -> None:
    lora = draw_lora(ranks=(2,))
    reading = read_tensors(tmp_path, kohya(lora))
    assert {factors.rank for factors in reading.lora.values()} == {2}


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
