"""The global LoRA against the exact optimum."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from autolora.fusion.global_lora import global_lora, truncated
from autolora.lora.factors import Factors, delta

REFERENCE = Path(__file__).parent / "reference" / "global_lora.npz"


def factors(down: np.ndarray, up: np.ndarray, scale: float = 1.0) -> Factors:
    return Factors(down=torch.from_numpy(down), up=torch.from_numpy(up), scale=scale)


def test_reaches_the_exact_optimum_of_the_reference() -> None:
    given = np.load(REFERENCE)
    found = delta(truncated([factors(given[f"A{i}"], given[f"B{i}"]) for i in (1, 2)], 4))
    whole = torch.from_numpy(given["Wsum"])
    error = float((found - whole).norm() / whole.norm())
    best = float((torch.from_numpy(given["best_rank4"]) - whole).norm() / whole.norm())
    assert error == pytest.approx(best, abs=1e-4)
    assert error == pytest.approx(0.5904, abs=1e-4)
    torch.testing.assert_close(found, torch.from_numpy(given["best_rank4"]), atol=1e-4, rtol=1e-3)


def test_equals_a_second_derivation() -> None:
    def rnd(name: str, shape: tuple[int, int]) -> np.ndarray:
        state = np.random.RandomState(zlib.crc32(f"parity/{name}".encode()))
        return (state.standard_normal(shape[0] * shape[1]).astype(np.float32).reshape(shape)) * np.float32(
            0.3
        )

    parts = [
        factors(rnd("w/A0", (6, 10)), rnd("w/B0", (14, 6))),
        factors(rnd("w/A1", (3, 10)), rnd("w/B1", (14, 3))),
    ]
    whole = sum(delta(part) for part in parts)
    assert isinstance(whole, torch.Tensor)
    found = truncated(parts, 4)
    assert float((delta(found) - whole).norm() / whole.norm()) == pytest.approx(0.328847, abs=1e-5)
    values = torch.linalg.svdvals(delta(found))
    assert values[:4].tolist() == pytest.approx([1.73169, 1.28467, 0.85722, 0.69031], abs=1e-4)


def drawn(seed: int, rank: int, scale: float = 1.0) -> Factors:
    generator = np.random.default_rng(seed)
    sizes = ((rank, 12), (20, rank))
    return factors(*(generator.standard_normal(size).astype(np.float32) for size in sizes), scale)


def test_scales_count_once() -> None:
    parts = [drawn(0, 3, 0.5), drawn(1, 5, -2.0)]
    found = delta(truncated(parts, 8))
    torch.testing.assert_close(found, delta(parts[0]) + delta(parts[1]), atol=1e-4, rtol=1e-4)


def test_order_does_not_matter() -> None:
    parts = [drawn(0, 3), drawn(1, 5), drawn(2, 2)]
    torch.testing.assert_close(
        delta(truncated(parts, 4)), delta(truncated(parts[::-1], 4)), atol=1e-4, rtol=1e-4
    )


def test_takes_every_slot_that_one_of_them_has() -> None:
    found = global_lora([{"a": drawn(0, 3)}, {"a": drawn(1, 3), "b": drawn(2, 6)}], 4)
    assert {name: part.rank for name, part in found.items()} == {"a": 4, "b": 4}


def test_a_sum_that_vanishes_is_left_out() -> None:
    zero = Factors(down=torch.ones(2, 12), up=torch.zeros(20, 2), scale=1.0)
    assert global_lora([{"a": zero}], 4) == {}
    assert global_lora([{"a": drawn(0, 3)}], 0) == {}
    assert global_lora([], 4) == {}
