"""The global LoRA: scales, order of adapters, and slots that only some adapters change."""

from typing import Any

import numpy as np
import torch

from autolora.fusion.global_lora import GlobalLoras, global_update, key_of, truncated
from autolora.fusion.methods import strengthened
from autolora.lora.factors import Factors, Lora, delta


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


def test_the_factors_may_have_very_different_sizes() -> None:
    """One adapter with a small `up` and a large `down`, as alpha may be in either."""
    updates = [random_factors(0, 3), random_factors(1, 5)]
    uneven = Factors(updates[1].down * 1e5, updates[1].up * 1e-5, updates[1].scale)
    expected = delta(truncated(updates, 4))
    torch.testing.assert_close(delta(truncated([updates[0], uneven], 4)), expected, atol=1e-4, rtol=1e-4)


def test_a_part_that_two_adapters_share_and_one_that_cancels() -> None:
    first = random_factors(0, 3)
    double = delta(truncated([first, first], 4))
    torch.testing.assert_close(double, 2 * delta(first), atol=1e-4, rtol=1e-4)
    other = random_factors(1, 2)
    rest = delta(truncated([first, other, Factors(first.down, first.up, -1.0)], 4))
    torch.testing.assert_close(rest, delta(other), atol=1e-4, rtol=1e-4)


def key(loras: dict[str, Lora]) -> Any:
    return key_of(list(loras.values()), list(loras), rank=4, fused=False)


def test_a_set_is_known_in_any_order_and_with_its_strengths_only() -> None:
    first, second = {"slot": random_factors(0, 3)}, {"slot": random_factors(1, 3)}
    known = key({"a": first, "b": second})
    assert known == key({"b": second, "a": first})
    assert known != key({"a": strengthened(first, 0.5), "b": second})
    assert known != key({"a": first, "c": second})
    assert known != key_of([first, second], ["a", "b"], rank=2, fused=False)
    assert known != key_of([first, second], ["a", "b"], rank=4, fused=True)


def test_the_last_sets_are_kept() -> None:
    kept, lora = GlobalLoras(2), {"slot": random_factors(0, 3)}
    one, two, three = (key({name: lora}) for name in "abc")
    kept.slots_of(one)["slot"] = lora["slot"]
    kept.slots_of(two)
    assert kept.slots_of(one) == lora
    kept.slots_of(three)
    assert len(kept) == 2
    assert kept.slots_of(one) == lora
    assert kept.slots_of(None) == {} and len(kept) == 2
