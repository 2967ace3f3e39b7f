"""TIES on whole models and per slot, and the exact threshold."""

from typing import Any

import pytest
import torch
from peft.utils.merge_utils import ties
from torch import Tensor

from autolora.fusion.rules import Adapter
from autolora.lora.factors import delta
from studies.paper.rules.ties import Ties, TiesSlots
from studies.paper.rules.trimming import merge_trimmed, smallest_kept
from tests.fusion.rules.adapters import adapter
from tests.support.one_call import OneCall, build_transformer

DENSITY = 0.3


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 0.999])
def test_threshold_is_the_smallest_of_the_largest_values(density: float) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=generator) ** 3 for size in (7, 300, 1, 1000)]
    ordered = torch.cat(tensors).abs().sort(descending=True).values
    expected = ordered[max(1, int(density * len(ordered))) - 1]
    assert smallest_kept(lambda: tensors, density) == float(expected)


def test_threshold_of_equal_values_and_of_half_precision() -> None:
    assert smallest_kept(lambda: [torch.full((10,), -2.0)], 0.2) == 2
    assert smallest_kept(lambda: [torch.tensor([1, -3, 0, 2], dtype=torch.bfloat16)], 0.5) == 2


def test_values_whose_sign_loses_do_not_dilute_the_others() -> None:
    values = [torch.tensor([3.0, 1.0, -2.0, 4.0]), torch.tensor([-1.0, 3.0, -4.0, 0.1])]
    merged = merge_trimmed(values, [0.5, 0.5])
    assert merged.tolist() == [3.0, 2.0, -3.0, 4.0]


def merged_updates(rule: Any, adapters: list[Adapter]) -> dict[str, Tensor]:
    """Return slot -> the update that a rule adds, by applying each linear to unit vectors."""
    transformer = build_transformer()
    names = list(dict.fromkeys(name for one in adapters for name in one.lora))
    linears = {name: transformer.get_submodule(name) for name in names}
    inputs = {name: torch.eye(linear.in_features) for name, linear in linears.items()}
    before = {name: linears[name](inputs[name]) for name in names}
    with rule.attach(OneCall(transformer), adapters):
        return {name: (linears[name](inputs[name]) - before[name]).T for name in names}


def test_values_are_trimmed_over_the_whole_adapter_as_in_the_paper() -> None:
    adapters = [adapter(1), adapter(2, rank=5, share=0.5)]
    expected = {}
    flat = [torch.cat([delta(factors).flatten() for factors in one.lora.values()]) for one in adapters]
    limits = [x.abs().sort(descending=True).values[int(DENSITY * len(x)) - 1] for x in flat]
    for name in adapters[0].lora:
        values = [
            torch.where(delta(one.lora[name]).abs() >= limit, delta(one.lora[name]), 0.0)
            for one, limit in zip(adapters, limits, strict=True)
            if name in one.lora
        ]
        sign = torch.stack(values).sum(0).sign()
        agreeing = torch.stack([torch.where(value.sign() == sign, value, 0.0) for value in values])
        expected[name] = agreeing.sum(0) / (agreeing != 0).sum(0).clamp(min=1)
    actual = merged_updates(Ties(DENSITY), adapters)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, atol=1e-5, rtol=1e-4)


def test_per_slot_it_is_the_function_of_peft_on_the_updates() -> None:
    adapters = [adapter(1), adapter(2, rank=5)]
    actual = merged_updates(TiesSlots(DENSITY), adapters)
    for name, value in actual.items():
        expected = ties([delta(one.lora[name]) for one in adapters], torch.ones(2), DENSITY)
        torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-4)
