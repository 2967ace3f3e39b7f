"""The global LoRA: scales, order of adapters, and slots that only some adapters change."""

import numpy as np
import torch

from autolora.fusion.global_lora import global_update, truncated
from autolora.lora.factors import Factors, delta


def random_factors(seed: int, rank: int, scale: float = 1.0) -> Factors:
    generator = np.random.default_rng(seed)
    down, up = (
        torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
        for shape in ((rank, 12), (20, rank))
    )
    return Factors(down=down, up=up, scale=scale)


def test_scales_are_applied_once() -> None:
    updates = [random_factors(0, 3, 0.5), random_factors(1, 5, -2.0)]
    total = delta(truncated(updates, 8))
    torch.testing.assert_close(total, delta(updates[0]) + delta(updates[1]), atol=1e-4, rtol=1e-4)


def test_order_of_adapters_does_not_matter() -> None:
    updates = [random_factors(0, 3), random_factors(1, 5), random_factors(2, 2)]
    torch.testing.assert_close(
        delta(truncated(updates, 4)), delta(truncated(updates[::-1], 4)), atol=1e-4, rtol=1e-4
    )


def test_rank_is_limited() -> None:
    joint = global_update([random_factors(0, 3), random_factors(1, 3)], 4)
    assert joint is not None and joint.rank == 4


def test_there_is_none_if_the_sum_is_zero() -> None:
    zero = Factors(down=torch.ones(2, 12), up=torch.zeros(20, 2), scale=1.0)
    assert global_update([zero], 4) is None
    assert global_update([random_factors(0, 3)], 0) is None
