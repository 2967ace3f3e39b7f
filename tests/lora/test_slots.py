"""The slot table matches the linears of diffusers' transformer."""

import pytest

from autolora.lora.slots import Slot, fused_slots, hidden_size, slots

FLUX = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
TINY = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}


def linears(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return name -> (d_in, d_out) of the linears inside the blocks of diffusers' class."""
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    sides = {
        "in_channels": 64,
        "joint_attention_dim": 4096,
        "pooled_projection_dim": 768,
        "guidance_embeds": True,
    }
    axes = (
        {"axes_dims_rope": (16, 56, 56)}
        if config["attention_head_dim"] == 128
        else {"axes_dims_rope": (2, 2, 4)}
    )
    with torch.device("meta"):
        model = diffusers.FluxTransformer2DModel(**config, **sides, **axes)
    return {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "transformer_blocks." in name
    }


@pytest.mark.parametrize("config", [FLUX, TINY], ids=["FLUX.1-dev", "tiny"])
def test_slots_match_the_linears_of_the_transformer_blocks(config: dict[str, int]) -> None:
    assert {slot.name: (slot.d_in, slot.d_out) for slot in slots(config)} == linears(config)


def test_number_of_slots_of_flux_1_dev() -> None:
    assert len(slots(FLUX)) == 494
    assert len(fused_slots(FLUX)) == 304
    assert len({slot.type for slot in slots(FLUX)}) == 20
    assert len({slot.type for slot in fused_slots(FLUX)}) == 13
    assert hidden_size(FLUX) == 3072


def test_fused_slots_contain_all_canonical_slots() -> None:
    fused = fused_slots(FLUX)
    assert sorted(part.name for slot in fused for part in slot.parts) == sorted(
        slot.name for slot in slots(FLUX)
    )
    for slot in fused:
        assert {part.d_in for part in slot.parts} == {slot.d_in}
        assert [part.row for part in slot.parts] == rows(slot.parts)
        assert {part.fused for part in slot.parts} == {slot.name}
    assert sum(slot.d_in for slot in fused) == 1_751_040
    assert sum(slot.d_out for slot in fused) == 3_035_136


def rows(parts: tuple[Slot, ...]) -> list[int]:
    return [sum(part.d_out for part in parts[:index]) for index in range(len(parts))]


def test_fused_slots_are_in_the_order_of_the_released_code() -> None:
    names = [slot.name for slot in fused_slots(FLUX)]
    assert names[0] == "blocks.0.attn.a_to_qkv"
    assert names[15] == "blocks.1.attn.b_to_qkv"
    assert names[189] == "blocks.18.norm1_b.linear"
    assert names[190:193] == [
        "single_blocks.0.to_qkv_mlp",
        "single_blocks.0.proj_out",
        "single_blocks.0.norm.linear",
    ]
    assert names[303] == "single_blocks.37.norm.linear"
