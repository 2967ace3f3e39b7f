"""Exact inner products equal those of whole updates; sketches of several shapes equal the library's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from autolora.lora.factors import Factors, delta
from autolora.lora.sketch import SketchSpec, sketch
from bench.pairs import compare_all
from bench.similarity import (
    SketchFile,
    clopper_pearson,
    compare_sketches,
    gram_of_factors,
    inner_product,
    nearest_neighbors,
    sketch_shapes,
)
from tests.lora.writing import SLOTS, draw_lora


def test_gram_matches_whole_updates() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = [
        Factors(torch.randn(r, 40, generator=generator), torch.randn(30, r, generator=generator), 0.5 + r)
        for r in (1, 3, 2, 8, 4, 5, 1)
    ]
    whole = torch.stack([delta(f).double().flatten() for f in factors])
    expected = (whole @ whole.T).numpy()
    assert np.abs(gram_of_factors(factors) - expected).max() < 1e-5 * expected.max()


def test_inner_product_is_over_shared_slots() -> None:
    a, b = draw_lora(0), draw_lora(1)
    del b[SLOTS[0].name]
    expected = sum(float((delta(a[name]).double() * delta(b[name]).double()).sum()) for name in b)
    assert inner_product(a, b) == pytest.approx(expected, rel=1e-4)


def test_sketch_shapes_match_sketch() -> None:
    loras = [draw_lora(0), draw_lora(1)]
    del loras[1][SLOTS[2].name]
    by_shape = sketch_shapes(loras, SLOTS, [(8, 8), (32, 32), (8, 32)])
    assert by_shape[8, 32].shape == (2, len(SLOTS), 8, 32)
    for size in (8, 32):
        for lora, values in zip(loras, by_shape[size, size], strict=True):
            expected = sketch(lora, SLOTS, SketchSpec(size)).values
            assert (values - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_sketch_file_returns_stored_sketches(tmp_path: Path) -> None:
    sketch_file = SketchFile(tmp_path, (8, 8), 3, len(SLOTS))
    sketches = [sketch(draw_lora(seed), SLOTS, SketchSpec(8)).values for seed in range(3)]
    for adapter, values in enumerate(sketches):
        sketch_file.put(adapter, values)
    stored = SketchFile(tmp_path, (8, 8), 3, len(SLOTS)).get([0, 1, 2])
    assert np.abs(stored - torch.stack(sketches).flatten(2).numpy()).max() < 1e-3 * np.abs(stored).max()
    inner, slot_cosines = compare_sketches(stored, stored)
    for actual, expected in zip(compare_all(sketch_file), (inner, slot_cosines), strict=True):
        assert np.allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_nearest_neighbor_is_another_adapter() -> None:
    assert nearest_neighbors(np.array([[1, 0.2, 0.3], [0.2, 1, 0.1], [0.3, 0.1, 1]])).tolist() == [2, 0, 0]


@pytest.mark.parametrize(
    "successes, trials, low, high",
    ((0, 300, 0, 0.0122210), (300, 300, 0.9877790, 1), (5, 50, 0.0332751, 0.2181354)),
)
def test_clopper_pearson_intervals(successes: int, trials: int, low: float, high: float) -> None:
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=1e-6)
