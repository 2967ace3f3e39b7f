"""The global LoRA: its own promises."""

import numpy as np
import torch

from autolora.fusion.global_lora import global_lora, truncated
from autolora.lora.factors import Factors, delta


def factors(down: np.ndarray, up: np.ndarray, scale: float = 1.0) -> Factors:
    return Factors(down=torch.from_numpy(down), up=torch.from_numpy(up), scale=scale)


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
