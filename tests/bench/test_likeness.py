"""Exact inner products equal those of whole updates; sketches in many shapes equal the library's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from autolora.lora.factors import Factors, delta
from autolora.lora.sketch import SketchSpec, sketch
from bench.likeness import (
    Shelf,
    binomial,
    compare,
    find_nearest,
    gram_of_factors,
    inner_product,
    sketch_shapes,
)
from bench.pairs import compare_all
from tests.lora.writing import SLOTS, draw_lora


def test_gram_is_that_of_whole_updates() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = [
        Factors(torch.randn(r, 40, generator=generator), torch.randn(30, r, generator=generator), 0.5 + r)
        for r in (1, 3, 2, 8, 4, 5, 1)
    ]
    whole = torch.stack([delta(f).double().flatten() for f in factors])
    expected = (whole @ whole.T).numpy()
    assert np.abs(gram_of_factors(factors) - expected).max() < 1e-5 * expected.max()


def test_inner_product_is_over_the_slots_of_both() -> None:
    a, b = draw_lora(0), draw_lora(1)
    del b[SLOTS[0].name]
    expected = sum(float((delta(a[name]).double() * delta(b[name]).double()).sum()) for name in b)
    assert inner_product(a, b) == pytest.approx(expected, rel=1e-4)


def test_shapes_are_sketches() -> None:
    loras = [draw_lora(0), draw_lora(1)]
    del loras[1][SLOTS[2].name]
    found = sketch_shapes(loras, SLOTS, [(8, 8), (32, 32), (8, 32)])
    assert found[8, 32].shape == (2, len(SLOTS), 8, 32)
    for size in (8, 32):
        for lora, values in zip(loras, found[size, size], strict=True):
            made = sketch(lora, SLOTS, SketchSpec(size)).values
            assert (values - made).abs().max() <= 1e-5 * made.abs().max()


def test_a_shelf_gives_back_what_it_keeps(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, (8, 8), 3, len(SLOTS))
    made = [sketch(draw_lora(seed), SLOTS, SketchSpec(8)).values for seed in range(3)]
    for adapter, values in enumerate(made):
        shelf.put(adapter, values)
    kept = Shelf(tmp_path, (8, 8), 3, len(SLOTS)).get([0, 1, 2])
    assert np.abs(kept - torch.stack(made).flatten(2).numpy()).max() < 1e-3 * np.abs(kept).max()
    inner, of_slots = compare(kept, kept)
    for found, expected in zip(compare_all(shelf), (inner, of_slots), strict=True):
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_the_nearest_is_another() -> None:
    assert find_nearest(np.array([[1, 0.2, 0.3], [0.2, 1, 0.1], [0.3, 0.1, 1]])).tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    "successes, trials, low, high",
    ((0, 300, 0, 0.0122210), (300, 300, 0.9877790, 1), (5, 50, 0.0332751, 0.2181354)),
)
def test_intervals_are_clopper_and_pearsons(successes: int, trials: int, low: float, high: float) -> None:
    assert binomial(successes, trials) == pytest.approx((low, high), abs=1e-6)
