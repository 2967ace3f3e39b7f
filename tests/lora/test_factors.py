"""Factors: energy, fusing, splitting."""

import pytest
import torch

from autolora.lora.factors import Factors, delta, energy, fuse, is_zero, largest, split, trim
from tests.lora.writing import FUSED, draw_lora


@pytest.mark.parametrize("slot", FUSED, ids=lambda slot: slot.name)
def test_fusing_stacks_the_parts_updates(slot) -> None:  # type: ignore[no-untyped-def]
    lora = draw_lora()
    fused = fuse(lora, slot)
    assert fused is not None and fused.scale == 1
    whole = torch.cat([delta(lora[part.name]) for part in slot.parts])
    assert torch.equal(delta(fused), whole) or torch.allclose(delta(fused), whole, atol=1e-6)


def test_a_missing_part_is_rows_of_zeros() -> None:
    lora = draw_lora()
    slot = next(slot for slot in FUSED if len(slot.parts) == 4)
    missing = slot.parts[1]
    del lora[missing.name]
    fused = fuse(lora, slot)
    assert fused is not None
    assert not delta(fused)[missing.row : missing.row + missing.d_out].any()
    assert fuse({}, slot) is None


def test_splitting_undoes_fusing_and_gives_each_part_its_own_rank() -> None:
    lora = draw_lora(ranks=(3, 2))
    for slot in FUSED:
        fused = fuse(lora, slot)
        assert fused is not None
        for part, cut in zip(
            slot.parts, split(fused.down, fused.up, 1.0, [part.d_out for part in slot.parts]), strict=True
        ):
            assert cut.rank == lora[part.name].rank
            assert torch.allclose(delta(cut), delta(lora[part.name]), atol=1e-6)


def test_splitting_a_shared_down_copies_nothing() -> None:
    down, up = torch.randn(2, 8), torch.randn(24, 2)
    parts = split(down, up, 0.5, [8, 8, 8])
    assert all(part.down is down for part in parts)
    assert torch.equal(torch.cat([delta(part) for part in parts]), 0.5 * (up @ down))


def test_energy_is_the_squared_norm() -> None:
    for factors in draw_lora().values():
        assert energy(factors) == pytest.approx(float(delta(factors).double().square().sum()), rel=1e-5)


def test_zero_is_told_from_small() -> None:
    down = torch.randn(1, 8)
    assert is_zero(Factors(torch.cat((down, down)), torch.tensor([[1.0, -1.0]]), 1.0))
    assert is_zero(Factors(down, torch.zeros(4, 1), 1.0))
    assert is_zero(Factors(down, torch.ones(4, 1), 0.0))
    assert not is_zero(Factors(1e-8 * down, 1e-8 * torch.ones(4, 1), 1e-8))


def test_zero_is_told_at_a_corner_or_in_full() -> None:
    """A bound on the factors only spares work: with it the answer is the same."""
    silent = torch.zeros(200, 2)
    silent[150:] = 1  # nothing at the corner
    down = torch.randn(2, 300)
    for factors in (
        Factors(down, silent, 1.0),
        Factors(down, torch.cat((silent[:, :1], -silent[:, :1]), 1), 1.0),
    ):
        at_most = (
            factors.up.numel() * largest(factors.up) ** 2 * factors.down.numel() * largest(factors.down) ** 2
        )
        assert not is_zero(factors) and not is_zero(factors, at_most)
    twin = Factors(torch.cat((down, down)), torch.cat((silent, -silent), 1), 1.0)
    assert is_zero(twin) and is_zero(twin, 1e9)


@pytest.mark.parametrize("size", [1e-25, 1e-12, 1.0, 1e9])
@pytest.mark.parametrize("rest", [1.0, 1e-3])
def test_energy_keeps_its_digits(size: float, rest: float) -> None:
    """Also where ranks cancel but for a rest, and where squares leave the range of single precision."""
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(1, 500, generator=generator), torch.randn(400, 1, generator=generator)
    down, up = torch.cat((down, down)) * size, torch.cat((up, (rest - 1) * up), 1) * size
    exact = float((up.double() @ down.double()).square().sum())
    assert energy(Factors(down, up, 1.0)) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
)
def test_largest_magnitude_in_any_dtype(dtype: str) -> None:
    kind = getattr(torch, dtype)
    for values in (torch.randn(50, 30), -torch.rand(50, 30), torch.rand(50, 30), torch.tensor([0.0, -0.0])):
        stored = values.to(kind)
        assert largest(stored) == float(stored.double().abs().max())
        assert largest(stored[::2]) == float(stored[::2].double().abs().max())
    for bad in (float("nan"), -float("nan")):
        assert not largest(torch.tensor([1.0, bad, -2.0]).to(kind)) <= 1e9
    if dtype != "float8_e4m3fn":  # which has no infinity
        assert largest(torch.tensor([1.0, -float("inf")]).to(kind)) == float("inf")


def test_trimming_cuts_dead_ranks_only() -> None:
    factors = Factors(torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([[1.0, 5.0, 0.0]]), 1.0)
    assert trim(factors).rank == 1
    assert torch.equal(delta(trim(factors)), delta(factors))
