"""Where diffusers reads a layout rightly, its own loader and we give each slot the same update.

1 + 1 blocks of FLUX.1-dev's sizes: the loader runs as it does for users, only the base's weights are not there.
Which layouts it reads rightly was measured once; it passes over the others without a word, or scales them wrongly.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from autolora.lora.factors import Factors
from autolora.lora.read import read
from autolora.slots import fused_slots, slots
from tests.lora.test_layouts import CASES, assert_alike, draw
from tests.lora.writing import BOUNDS, KOHYA, WIDE, Tensors, lay_out, write

diffusers = pytest.importorskip("diffusers")
loaders = pytest.importorskip("diffusers.loaders")

RIGHT = (
    "kohya",
    "kohya without alpha",
    "kohya split_qkv",
    "kohya with alphas 94 and 123",
    "kohya with mixed ranks and alphas",
    "kohya with bf16 alphas",
    "kohya with text encoders",
    "comfy",
    "ai-toolkit",
    "diffusers with alpha",
    "diffusers, attention only",
    "diffusers, q and v only",
    "bf16",
    "fp16",
    "xlabs",
    "OneTrainer, attention only",
)
"""Layouts of the matrix that diffusers reads rightly. A negative alpha is not among them: its converter never ends."""


def load(tensors: Tensors) -> dict[str, Factors]:
    """Return every module's update in a transformer into which diffusers has loaded a LoRA."""
    with torch.device("meta"):
        transformer = diffusers.FluxTransformer2DModel(**WIDE)
    for module in transformer.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            zeros = torch.zeros(()).expand(weight.shape)  # one number; PEFT puts a LoRA where the base lies
            setattr(module, name, nn.Parameter(zeros, requires_grad=False))
    state, alphas = loaders.FluxLoraLoaderMixin.lora_state_dict(dict(tensors), return_alphas=True)
    loaders.FluxLoraLoaderMixin.load_lora_into_transformer(
        state, network_alphas=alphas, transformer=transformer
    )
    layers = {name: layer for name, layer in transformer.named_modules() if hasattr(layer, "lora_A")}
    return {name: _factors(layer) for name, layer in layers.items()}


def _factors(layer: nn.Module) -> Factors:
    ((name, down),) = layer.lora_A.items()
    return Factors(down.weight.detach(), layer.lora_B[name].weight.detach(), layer.scaling[name])


@pytest.mark.parametrize("name", RIGHT)
def test_our_reading_equals_diffusers_own(tmp_path: Path, name: str) -> None:
    case, fused = CASES[name], fused_slots(WIDE)
    tensors = case.change(lay_out(draw(case, fused), case.form, fused))
    path = write(tmp_path / "lora.safetensors", tensors)
    lora = read(path, slots(WIDE), replace(BOUNDS, max_rank=256)).lora
    assert_alike(lora, {name: one for name, one in load(tensors).items() if bool(one.up.any())}, "flux.1-dev")


def test_layer_names_are_all_covered() -> None:
    assert {slot.type for slot in fused_slots(WIDE)} == set(KOHYA)
