"""The fusion of one slot follows the device and the precision of its calls; `meta` stands for another device."""

from dataclasses import replace

import pytest
import torch

from autolora.fusion.gate import Gate
from autolora.fusion.slot_fusion import SlotFusion
from autolora.lora.factors import Factors
from autolora.presets.fusion import FUSION

VARIANT = replace(FUSION["best"], init_std=0.5, init_bias=0.0, relevance_weight=2.0)


def random_factors(seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    down, up = torch.randn(3, 6, generator=generator), torch.randn(8, 3, generator=generator)
    return Factors(down=down, up=up, scale=0.5)


def make_fusion(gated: bool) -> SlotFusion:
    torch.manual_seed(0)
    scored = [(random_factors(1), torch.tensor(0.9)), (random_factors(2), torch.tensor(0.2))]
    return SlotFusion(scored, Gate(8, VARIANT).requires_grad_(False) if gated else None)


@pytest.mark.parametrize("gated", [False, True])
def test_calls_may_move_to_another_device_and_back(gated: bool) -> None:
    fusion, x, output = make_fusion(gated), torch.randn(4, 6), torch.randn(4, 8)
    expected = fusion(output, x)
    assert fusion(output.to("meta"), x.to("meta")).is_meta
    assert fusion(output.to("meta"), x).is_meta, "the input follows the output"
    half = fusion(output.bfloat16(), x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), expected, atol=0.1, rtol=0.1)
    assert torch.equal(fusion(output, x), expected)


def test_gates_of_the_caller_stay_where_they_are() -> None:
    torch.manual_seed(0)
    gate = Gate(8, VARIANT).requires_grad_(False)
    fusion = SlotFusion([(random_factors(1), torch.tensor(0.9))], gate)
    x, output = torch.randn(4, 6), torch.randn(4, 8)
    expected = fusion(output, x)
    assert fusion(output.to("meta"), x.to("meta")).is_meta
    assert not gate.bias.is_meta
    assert torch.equal(fusion(output, x), expected)
