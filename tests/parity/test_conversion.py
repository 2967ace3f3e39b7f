"""Conversions equal the released loader's: in.* is a LoRA file, out.* its fused layers as that gives them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autolora.lora.factors import Lora, delta, fuse_all, with_one_scale
from autolora.lora.read import read
from autolora.presets import ENCODER
from autolora.slots import fused_slots, slots
from tests.lora.writing import BOUNDS, write
from tests.parity import cases

DEPTHS = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 1}


def config_of(outputs: dict[str, torch.Tensor]) -> dict[str, int]:
    """Return a base of the outputs' width: d_in of any layer but those that read an MLP."""
    width = min(one.shape[1] for name, one in outputs.items() if name.endswith(".lora_A.weight"))
    return DEPTHS | {"attention_head_dim": width}


@pytest.mark.parametrize("path", cases("convert_*.safetensors"), ids=lambda path: path.stem)
def test_fused_updates_equal_the_released_loaders(path: Path, tmp_path: Path) -> None:
    tensors = load_file(path)
    inputs = {key.removeprefix("in."): one for key, one in tensors.items() if key.startswith("in.")}
    outputs = {key.removeprefix("out."): one for key, one in tensors.items() if key.startswith("out.")}
    config = config_of(outputs)
    reading = read(write(tmp_path / "lora.safetensors", inputs), slots(config), BOUNDS)
    assert reading.keys_used == reading.keys_seen == len(inputs)
    found = fuse_all(released(reading.lora), fused_slots(config))
    names = [key.removesuffix(".lora_A.weight") for key in outputs if key.endswith(".lora_A.weight")]
    assert set(found) <= set(names)
    for name in names:
        a, b = (outputs[f"{name}.lora_{factor}.weight"].float() for factor in "AB")
        ours = delta(found[name]) if name in found else torch.zeros_like(b @ a)
        torch.testing.assert_close(ours, b @ a, atol=1e-6, rtol=1e-6)


def released(lora: Lora) -> Lora:
    """Scale a LoRA as the released loader does."""
    return with_one_scale(lora) if ENCODER["released"].alpha == "file" else lora
