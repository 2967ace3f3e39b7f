"""Reading the part of a LoRA file for the text encoders."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.factors import delta
from autolora.lora.text_parts import read_text_parts
from autolora.params import load
from tests.support.text_lora import (
    ALPHA,
    LINEARS,
    RANK,
    TOOLS,
    WIDTH,
    Write,
    diffusers,
    kohya,
    random_parts,
    save,
)
from tests.support.tiny_flux import random_lora, save_peft

BOUNDS = load(Path(__file__).parents[2] / "params.yaml").pool
PARTS = random_parts(1)


@pytest.mark.parametrize("write", TOOLS, ids=lambda write: write.__name__)
def test_updates_are_those_that_were_written(tmp_path: Path, write: Write) -> None:
    parts = read_text_parts(save(tmp_path / "x.safetensors", *write(PARTS)), LINEARS, BOUNDS)
    assert {encoder: set(lora) for encoder, lora in parts.items()} == {
        encoder: set(lora) for encoder, lora in PARTS.items()
    }
    for encoder, lora in PARTS.items():
        for name, factors in lora.items():
            torch.testing.assert_close(delta(parts[encoder][name]), delta(factors))


def test_names_may_contain_text_model_in_the_pipeline_too(tmp_path: Path) -> None:
    named = {"text_encoder": [f"text_model.{name}" for name in LINEARS["text_encoder"]]}
    path = save(tmp_path / "x.safetensors", *kohya({"text_encoder": PARTS["text_encoder"]}))
    assert list(read_text_parts(path, named, BOUNDS)["text_encoder"]) == named["text_encoder"][:1]


def test_a_file_without_such_a_part_has_no_updates(tmp_path: Path) -> None:
    path = save_peft(random_lora(1), tmp_path / "x.safetensors")
    assert read_text_parts(path, LINEARS, BOUNDS) == {}


def test_without_alpha_the_scale_is_1(tmp_path: Path) -> None:
    tensors, _ = diffusers(PARTS)
    parts = read_text_parts(save(tmp_path / "x.safetensors", tensors), LINEARS, BOUNDS)
    assert {factors.scale for lora in parts.values() for factors in lora.values()} == {1.0}


UP = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"
DAMAGES: dict[str, tuple[str, str, Tensor | None]] = {
    "no counterpart": ("orphan", UP, None),
    "not a number": ("nan-or-inf", UP, torch.full((WIDTH, RANK), float("nan"))),
    "integers": ("bad-dtype", UP, torch.ones(WIDTH, RANK, dtype=torch.int32)),
    "another rank": ("shape-mismatch", UP, torch.ones(WIDTH, RANK + 1)),
    "two alphas": ("bad-alpha", UP.replace("lora_up.weight", "alpha"), torch.ones(2)),
    "unknown linear": ("unknown-keys", UP.replace("q_proj", "x"), torch.ones(WIDTH, RANK)),
    "LoKr": ("other-adapter", UP.replace("lora_up.weight", "lokr_w1"), torch.ones(2, 2)),
}
"""what is wrong -> reason code, key, and the tensor under it"""


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_used_is_refused(tmp_path: Path, damage: str) -> None:
    code, key, tensor = DAMAGES[damage]
    tensors, _ = kohya(PARTS)
    tensors.pop(key, None)
    tensors |= {} if tensor is None else {key: tensor}
    with pytest.raises(RefusedFile) as caught:
        read_text_parts(save(tmp_path / "x.safetensors", tensors), LINEARS, BOUNDS)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "config", ["[", "[]", '{"text_encoder.lora_alpha": "x"}', '{"text_encoder.alpha_pattern": {"a": 1}}']
)
def test_a_config_that_is_not_read_is_refused(tmp_path: Path, config: str) -> None:
    tensors, _ = diffusers(PARTS)
    path = save(tmp_path / "x.safetensors", tensors, {"lora_adapter_metadata": config})
    with pytest.raises(RefusedFile) as caught:
        read_text_parts(path, LINEARS, BOUNDS)
    assert caught.value.code == "bad-alpha"


def test_the_largest_rank_is_that_of_the_pool(tmp_path: Path) -> None:
    path = save(tmp_path / "x.safetensors", *kohya(PARTS))
    with pytest.raises(RefusedFile, match=rf"has rank {RANK}, expected 1 to 1"):
        read_text_parts(path, LINEARS, replace(BOUNDS, max_rank=1))
    assert ALPHA != RANK
