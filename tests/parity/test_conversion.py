"""Conversion to fused slots equals the released loader: in.* is a LoRA file, out.* its fused layers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autolora.lora.factors import Lora, delta, fuse_all, with_one_scale
from autolora.lora.read import read
from autolora.lora.slots import fused_slots, slots
from studies.released.presets import ENCODER
from tests.lora.writing import BOUNDS, write
from tests.parity import cases

DEPTHS = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 1}


def config_of(outputs: dict[str, torch.Tensor]) -> dict[str, int]:
    """Return the config of a base model of the outputs' width: the smallest d_in, since others read an MLP."""
    width = min(tensor.shape[1] for name, tensor in outputs.items() if name.endswith(".lora_A.weight"))
    return DEPTHS | {"attention_head_dim": width}


@pytest.mark.parametrize("path", cases("convert_*.safetensors"), ids=lambda path: path.stem)
def test_fused_updates_equal_the_released_loader(path: Path, tmp_path: Path) -> None:
    tensors = load_file(path)
    inputs = {key.removeprefix("in."): tensor for key, tensor in tensors.items() if key.startswith("in.")}
    outputs = {key.removeprefix("out."): tensor for key, tensor in tensors.items() if key.startswith("out.")}
    config = config_of(outputs)
    reading = read(write(tmp_path / "lora.safetensors", inputs), slots(config), BOUNDS)
    assert reading.keys_used == reading.keys_seen == len(inputs)
    fused = fuse_all(with_released_scale(reading.lora), fused_slots(config))
    names = [key.removesuffix(".lora_A.weight") for key in outputs if key.endswith(".lora_A.weight")]
    assert set(fused) <= set(names)
    for name in names:
        a, b = (outputs[f"{name}.lora_{factor}.weight"].float() for factor in "AB")
        ours = delta(fused[name]) if name in fused else torch.zeros_like(b @ a)
        torch.testing.assert_close(ours, b @ a, atol=1e-6, rtol=1e-6)


def with_released_scale(lora: Lora) -> Lora:
    """Return the LoRA with the scale that the released preset reads."""
    return with_one_scale(lora) if ENCODER.alpha == "file" else lora
