"""Factors: norms, fusing and splitting."""

import pytest
import torch

from autolora.lora.factors import Factors, delta, drop_zero_ranks, fuse, is_zero, max_abs, split, squared_norm
from tests.lora.writing import FUSED, draw_lora


@pytest.mark.parametrize("slot", FUSED, ids=lambda slot: slot.name)
def test_fuse_stacks_the_updates_of_the_parts(slot) -> None:  # type: ignore[no-untyped-def]
    lora = draw_lora()
    fused = fuse(lora, slot)
    assert fused is not None and fused.scale == 1
    whole = torch.cat([delta(lora[part.name]) for part in slot.parts])
    assert torch.equal(delta(fused), whole) or torch.allclose(delta(fused), whole, atol=1e-6)


def test_fuse_fills_missing_parts_with_zeros() -> None:
    lora = draw_lora()
    slot = next(slot for slot in FUSED if len(slot.parts) == 4)
    missing = slot.parts[1]
    del lora[missing.name]
    fused = fuse(lora, slot)
    assert fused is not None
    assert not delta(fused)[missing.row : missing.row + missing.d_out].any()
    assert fuse({}, slot) is None


def test_split_inverts_fuse_and_reduces_ranks() -> None:
    lora = draw_lora(ranks=(3, 2))
    for slot in FUSED:
        fused = fuse(lora, slot)
        assert fused is not None
        for part, cut in zip(
            slot.parts, split(fused.down, fused.up, 1.0, [part.d_out for part in slot.parts]), strict=True
        ):
            assert cut.rank == lora[part.name].rank
            assert torch.allclose(delta(cut), delta(lora[part.name]), atol=1e-6)


def test_split_shares_down_without_copying() -> None:
    down, up = torch.randn(2, 8), torch.randn(24, 2)
    parts = split(down, up, 0.5, [8, 8, 8])
    assert all(part.down is down for part in parts)
    assert torch.equal(torch.cat([delta(part) for part in parts]), 0.5 * (up @ down))


def test_squared_norm_matches_the_whole_update() -> None:
    for factors in draw_lora().values():
        assert squared_norm(factors) == pytest.approx(float(delta(factors).double().square().sum()), rel=1e-5)


def test_is_zero_distinguishes_zero_from_small() -> None:
    down = torch.randn(1, 8)
    assert is_zero(Factors(torch.cat((down, down)), torch.tensor([[1.0, -1.0]]), 1.0))
    assert is_zero(Factors(down, torch.zeros(4, 1), 1.0))
    assert is_zero(Factors(down, torch.ones(4, 1), 0.0))
    assert not is_zero(Factors(1e-8 * down, 1e-8 * torch.ones(4, 1), 1e-8))


def test_is_zero_reads_all_values_if_a_corner_is_zero() -> None:
    up = torch.zeros(200, 2)
    up[150:] = 1  # zero in the corner that is checked first
    down = torch.randn(2, 300)
    for factors in (
        Factors(down, up, 1.0),
        Factors(down, torch.cat((up[:, :1], -up[:, :1]), 1), 1.0),
    ):
        assert not is_zero(factors)
    canceled = Factors(torch.cat((down, down)), torch.cat((up, -up), 1), 1.0)
    assert is_zero(canceled)


@pytest.mark.parametrize("size", [1e-25, 1e-12, 1.0, 1e9])
@pytest.mark.parametrize("rest", [1.0, 1e-3])
def test_squared_norm_is_accurate_under_cancellation_and_extreme_sizes(size: float, rest: float) -> None:
    """`rest` is the share that remains when two ranks cancel; some squares leave the single-precision range."""
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(1, 500, generator=generator), torch.randn(400, 1, generator=generator)
    down, up = torch.cat((down, down)) * size, torch.cat((up, (rest - 1) * up), 1) * size
    exact = float((up.double() @ down.double()).square().sum())
    assert squared_norm(Factors(down, up, 1.0)) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
)
def test_max_abs_for_every_dtype(dtype: str) -> None:
    kind = getattr(torch, dtype)
    for values in (torch.randn(50, 30), -torch.rand(50, 30), torch.rand(50, 30), torch.tensor([0.0, -0.0])):
        stored = values.to(kind)
        assert max_abs(stored) == float(stored.double().abs().max())
        assert max_abs(stored[::2]) == float(stored[::2].double().abs().max())
    for bad in (float("nan"), -float("nan")):
        assert not max_abs(torch.tensor([1.0, bad, -2.0]).to(kind)) <= 1e9
    if dtype != "float8_e4m3fn":  # e4m3fn has no infinity
        assert max_abs(torch.tensor([1.0, -float("inf")]).to(kind)) == float("inf")


def test_drop_zero_ranks_keeps_the_update() -> None:
    factors = Factors(torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([[1.0, 5.0, 0.0]]), 1.0)
    assert drop_zero_ranks(factors).rank == 1
    assert torch.equal(delta(drop_zero_ranks(factors)), delta(factors))
