"""Where diffusers' own converters are right, we read the same updates: 1 + 1 blocks, 3072 wide."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.lora.read import read
from autolora.slots import FusedSlot, fused_slots, slots
from tests.lora.writing import BOUNDS, KOHYA, write

conversion = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
CONFIG = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 24, "attention_head_dim": 128}
Tensors = dict[str, Tensor]
RANK = 2


def draw(paths: dict[str, tuple[int, int]], names: tuple[str, str], alpha: bool) -> Tensors:
    """Draw one LoRA module a path, of widths (d_in, d_out); alphas differ between modules."""
    generator = torch.Generator().manual_seed(0)
    tensors: Tensors = {}
    for number, (path, (d_in, d_out)) in enumerate(paths.items()):
        tensors[f"{path}.{names[0]}.weight"] = torch.randn(RANK, d_in, generator=generator)
        tensors[f"{path}.{names[1]}.weight"] = torch.randn(d_out, RANK, generator=generator)
        if alpha:
            tensors[f"{path}.alpha"] = torch.tensor(0.5 + number)
    return tensors


def draw_kohya() -> Tensors:
    paths = {}
    for slot in fused_slots(CONFIG):
        stack = "single" if slot.name.startswith("single") else "double"
        paths[f"lora_unet_{stack}_blocks_0_{KOHYA[slot.type]}"] = (slot.d_in, slot.d_out)
    return draw(paths, ("lora_down", "lora_up"), alpha=True)


def draw_split_qkv() -> Tensors:
    tensors = draw(
        {"lora_unet_double_blocks_0_img_attn_qkv": (3072, 9216)}, ("lora_down", "lora_up"), alpha=True
    )
    generator = torch.Generator().manual_seed(1)
    blocks = [torch.randn(3072, RANK, generator=generator) for _ in range(3)]
    path = "lora_unet_double_blocks_0_img_attn_qkv"
    tensors[f"{path}.lora_down.weight"] = torch.randn(3 * RANK, 3072, generator=generator)
    tensors[f"{path}.lora_up.weight"] = torch.block_diag(*blocks)
    return tensors


def draw_xlabs() -> Tensors:
    paths = {
        "double_blocks.0.processor.qkv_lora1": (3072, 9216),
        "double_blocks.0.processor.qkv_lora2": (3072, 9216),
        "double_blocks.0.processor.proj_lora1": (3072, 3072),
        "double_blocks.0.processor.proj_lora2": (3072, 3072),
        "single_blocks.0.processor.qkv_lora": (3072, 9216),
        "single_blocks.0.processor.proj_lora": (15360, 3072),
    }
    return draw(paths, ("down", "up"), alpha=False)


CASES: dict[str, tuple[Callable[[], Tensors], str]] = {
    "kohya": (draw_kohya, "_convert_kohya_flux_lora_to_diffusers"),
    "kohya split_qkv": (draw_split_qkv, "_convert_kohya_flux_lora_to_diffusers"),
    "xlabs": (draw_xlabs, "_convert_xlabs_flux_lora_to_diffusers"),
}


@pytest.mark.parametrize("case", CASES)
def test_our_reading_equals_diffusers_conversion(tmp_path: Path, case: str) -> None:
    make, converter = CASES[case]
    tensors = make()
    reading = read(write(tmp_path / "lora.safetensors", tensors), slots(CONFIG), BOUNDS)
    converted = getattr(conversion, converter)({key: tensor.clone() for key, tensor in tensors.items()})
    modules = {key.removesuffix(".lora_A.weight") for key in converted if key.endswith(".lora_A.weight")}
    assert {f"transformer.{name}" for name in reading.lora} == modules
    for name, ours in reading.lora.items():
        a, b = (converted[f"transformer.{name}.lora_{factor}.weight"] for factor in "AB")
        assert ours.rank == a.shape[0]
        probe = torch.randn(a.shape[1], 4, generator=torch.Generator().manual_seed(2))
        wanted = b @ (a @ probe)
        error = ours.scale * (ours.up @ (ours.down @ probe)) - wanted
        assert error.abs().max() <= 1e-5 * wanted.abs().max()


def test_layer_names_are_all_covered() -> None:
    fused: list[FusedSlot] = list(fused_slots(CONFIG))
    assert {slot.type for slot in fused} == set(KOHYA)
