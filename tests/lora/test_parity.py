"""Conversions equal the released loader's: in.* is a LoRA file (h = 8), out.* its 304 fused layers."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from autolora.lora.factors import fuse
from autolora.lora.read import read
from autolora.slots import fused_slots, slots
from tests.lora.writing import BOUNDS, write

CONFIG = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 1, "attention_head_dim": 8}
FOLDER = Path(__file__).parent


@pytest.mark.parametrize("name", ["kohya_full", "kohya_alpha1", "diffusers_full"])
def test_fused_updates_equal_the_released_loaders(tmp_path: Path, name: str) -> None:
    tensors = load_file(FOLDER / f"convert_{name}.safetensors")
    inputs = {key.removeprefix("in."): value for key, value in tensors.items() if key.startswith("in.")}
    reading = read(write(tmp_path / "lora.safetensors", inputs), slots(CONFIG), BOUNDS)
    assert reading.keys_used == reading.keys_seen == len(inputs)
    for slot in fused_slots(CONFIG):
        ours = fuse(reading.lora, slot)
        assert ours is not None
        a, b = (tensors[f"out.{slot.name}.lora_{factor}.weight"] for factor in "AB")
        assert (ours.up @ ours.down - b @ a).abs().max() <= 1e-6
