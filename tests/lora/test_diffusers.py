"""For layouts that diffusers reads correctly, its loader and this reader return the same update of each slot.

The transformer has 1 + 1 blocks with FLUX.1-dev's sizes; the loader runs as for users, but without the base's weights.
The list of correctly read layouts was determined once; diffusers silently ignores the others or scales them wrongly.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from autolora.lora.factors import Factors
from autolora.lora.read import read
from autolora.lora.slots import fused_slots, slots
from tests.lora.known_updates import assert_close, draw
from tests.lora.layout_cases import CASES
from tests.lora.writing import BOUNDS, KOHYA, WIDE, Tensors, lay_out, write

diffusers = pytest.importorskip("diffusers")
loaders = pytest.importorskip("diffusers.loaders")

CORRECT_IN_DIFFUSERS = (
    "kohya",
    "kohya without alpha",
    "kohya split_qkv",
    "kohya with alphas 94 and 123",
    "kohya with mixed ranks and alphas",
    "kohya with bf16 alphas",
    "kohya with text encoders",
    "comfy",
    "comfy with differences of norms",
    "kohya with zero biases",
    "ai-toolkit",
    "diffusers with alpha",
    "diffusers, attention only",
    "diffusers, q and v only",
    "bf16",
    "fp16",
    "xlabs",
    "OneTrainer, attention only",
)
"""cases of layout_cases that diffusers reads correctly; with a negative alpha its converter never terminates"""


def load(tensors: Tensors) -> dict[str, Factors]:
    """Return every module's update in a transformer after diffusers has loaded a LoRA into it."""
    with torch.device("meta"):
        transformer = diffusers.FluxTransformer2DModel(**WIDE)
    for module in transformer.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            # expand: one number in memory; not meta, since PEFT creates a LoRA on the device of its base
            zeros = torch.zeros(()).expand(weight.shape)
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


@pytest.mark.parametrize("name", CORRECT_IN_DIFFUSERS)
def test_reader_matches_diffusers(tmp_path: Path, name: str) -> None:
    case, fused = CASES[name], fused_slots(WIDE)
    tensors = case.change(lay_out(draw(case, fused), case.key_format, fused))
    path = write(tmp_path / "lora.safetensors", tensors)
    lora = read(path, slots(WIDE), replace(BOUNDS, max_rank=256)).lora
    expected = {name: factors for name, factors in load(tensors).items() if bool(factors.up.any())}
    assert_close(lora, expected, "flux.1-dev")


def test_every_kind_of_linear_has_a_kohya_name() -> None:
    assert {slot.type for slot in fused_slots(WIDE)} == set(KOHYA)
