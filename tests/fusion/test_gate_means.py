"""The mean gates of an image: their form in its provenance, hostile forms of it, and their description."""

import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest

from autolora.fusion.gate_means import GLOBAL, MAX_CELLS, GateMeans, describe, join_steps

A = "a" * 64


def make_means(adapters: int = 2, blocks: int = 3, steps: int = 4, double_blocks: int = 1) -> GateMeans:
    values = np.random.default_rng(0).random((adapters, blocks, steps), np.float32)
    names = (*(f"{number:064x}" for number in range(adapters - 1)), GLOBAL)
    return GateMeans(adapters=names, double_blocks=double_blocks, steps=steps, values=join_steps(values))


def test_numbers_are_read_as_they_were_written_up_to_rounding() -> None:
    means = make_means()
    means.values[0, 1] = np.nan
    read = GateMeans.from_json(json.loads(json.dumps(means.to_json())))
    assert (read.adapters, read.double_blocks, read.steps) == (means.adapters, 1, 4)
    assert np.isnan(read.values[0, 1]).all() and np.isnan(read.values).sum() == 4
    assert np.nanmax(np.abs(read.values - means.values)) <= 0.5 / 254 + 1e-6


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_the_range_are_exact(value: float) -> None:
    means = GateMeans(adapters=(A,), double_blocks=1, steps=1, values=np.full((1, 1, 1), value, np.float32))
    assert GateMeans.from_json(means.to_json()).values.item() == value


def test_an_image_of_flux_with_five_adapters_needs_at_most_14_kb() -> None:
    means = make_means(adapters=6, blocks=57, steps=30, double_blocks=19)
    assert means.values.shape == (6, 57, 30)
    assert len(json.dumps(means.to_json())) < 14_500  # incompressible numbers, and 5 sha256


def test_adjacent_steps_are_averaged_if_there_are_too_many_numbers() -> None:
    means = make_means(adapters=6, blocks=57, steps=1000, double_blocks=19)
    columns = MAX_CELLS // (6 * 57)
    assert means.values.shape == (6, 57, columns)
    assert means.steps_of(0) == (1, 7) and means.steps_of(columns - 1)[1] == 1000
    assert len(json.dumps(means.to_json())) < 70_000
    assert means.values.mean() == pytest.approx(0.5, abs=0.01)


def levels(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content)).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2, 3, MAX_CELLS]},
        {"shape": [2, 3]},
        {"shape": [1, 3, 4]},
        {"shape": [2, 3, 5]},
        {"shape": [2, 3, 0]},
        {"shape": [2, 3, -4]},
        {"shape": [2, 3, True]},
        {"shape": 7},
        {"steps": 10**9},
        {"double_blocks": 4},
        {"adapters": [1, 2]},
        {"levels": "?"},
        {"levels": 5},
        {"levels": base64.b64encode(b"no zlib").decode()},
        {"levels": levels(bytes(23))},
        {"levels": levels(bytes(25))},
        {"levels": levels(bytes(10**8))},
    ],
)  # fmt: skip
def test_damaged_and_hostile_forms_are_errors(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        GateMeans.from_json(make_means().to_json() | change)


def test_an_adapter_is_described_by_where_and_when_it_passed() -> None:
    values = np.full((2, 3, 6), np.nan, np.float32)
    values[0, 0], values[0, 1], values[0, 2] = 0.9, 0.3, 0.6
    values[0, :, 4:] += 0.06
    means = GateMeans(adapters=(A, GLOBAL), double_blocks=1, steps=6, values=values)
    assert describe(means, {A: "someone/1"}) == [
        "someone/1: 0.62 on average; double blocks 0.92; single blocks 0.47; steps 1-2 0.60; steps 3-4 0.60; "
        "steps 5-6 0.66; most in double 0 (0.92), least in single 0 (0.32)",
        "global: changes no block",
    ]
    assert describe(means, {})[0].startswith("aaaaaaaa: ")


def test_gates_that_are_equal_everywhere_are_described_once() -> None:
    values = np.full((2, 3, 6), 0.951, np.float32)
    values[:, 2, 5] = (0.954, 0.956)
    means = GateMeans(adapters=(A, GLOBAL), double_blocks=1, steps=6, values=values)
    equal, other = describe(means, {})
    assert equal == "aaaaaaaa: 0.95 in all blocks and steps"
    assert other.startswith("global: 0.95 on average") and "most in single 1" in other
