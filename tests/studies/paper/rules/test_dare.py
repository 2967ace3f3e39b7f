"""DARE: which values are dropped, and that the others keep the expected update."""

from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.fusion.rules import Adapter
from autolora.lora.factors import delta
from studies.paper.rules.dare import Dare, drop_values
from tests.fusion.rules.adapters import adapter
from tests.support.one_call import OneCall, build_transformer


def merged_updates(rule: Any, adapters: list[Adapter]) -> dict[str, Tensor]:
    """Return slot -> the update that a rule adds, by applying each linear to unit vectors."""
    transformer = build_transformer()
    names = list(dict.fromkeys(name for one in adapters for name in one.lora))
    linears = {name: transformer.get_submodule(name) for name in names}
    inputs = {name: torch.eye(linear.in_features) for name, linear in linears.items()}
    before = {name: linears[name](inputs[name]) for name in names}
    with rule.attach(OneCall(transformer), adapters):
        return {name: (linears[name](inputs[name]) - before[name]).T for name in names}


def test_expected_value_is_the_value_and_a_share_is_dropped() -> None:
    values = torch.randn(50, 40, generator=torch.Generator().manual_seed(0))
    draws = torch.stack([drop_values(values, 0.75, seed) for seed in range(400)])
    kept = draws != 0
    assert abs(float(kept.float().mean()) - 0.25) < 0.005
    torch.testing.assert_close(draws[kept], (values * 4).expand_as(draws)[kept])
    error = (draws.mean(0) - values).norm() / values.norm()
    assert error < 1.5 * (3 / 400) ** 0.5, (
        "the mean of 400 draws has a standard error of √(p / (1 - p) / 400)"
    )


def test_draws_depend_on_the_seeds_and_leave_the_global_generator_alone() -> None:
    values = torch.ones(200)
    torch.manual_seed(3)
    first = drop_values(values, 0.5, 0, "a", "slot")
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), drawn)
    assert torch.equal(first, drop_values(values, 0.5, 0, "a", "slot"))
    for other in ((1, "a", "slot"), (0, "b", "slot"), (0, "a", "slot 2")):
        assert not torch.equal(first, drop_values(values, 0.5, *other))


def test_no_generator_of_a_gpu_is_seeded_for_values_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "manual_seed_all", None)  # a call would fail
    assert drop_values(torch.ones(4), 0.5, 0).shape == (4,)


def test_updates_are_dropped_by_themselves_and_added() -> None:
    adapters = [adapter(1), adapter(2, rank=5)]
    merged = merged_updates(Dare(drop=0.5, seed=7), adapters)
    for name in list(merged)[:3]:
        expected = sum(drop_values(delta(one.lora[name]), 0.5, 7, one.sha256, name) for one in adapters)
        torch.testing.assert_close(merged[name], expected, atol=1e-5, rtol=1e-4)
