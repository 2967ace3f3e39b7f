"""K-LoRA: which adapter acts in which slot at which step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from autolora.errors import MismatchError
from autolora.fusion.install import fused
from autolora.fusion.methods import strengthened
from autolora.fusion.rules import Adapter
from autolora.lora.factors import Lora, delta
from studies.paper.methods import PAIRS_ONLY, Method
from studies.paper.rules.klora import Magnitudes, _mean_ratio, measure, scale_of_style, scale_released
from tests.fusion.rules.adapters import adapter
from tests.studies.paper.rules.calls import run
from tests.support.one_call import OneCall, build_transformer

CONTENT = adapter(1)
STYLE = Adapter("f" * 64, strengthened(CONTENT.lora, -1.0))
"""in each slot its magnitudes are those of CONTENT, so that the schedule alone decides"""


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


def with_loras(pipeline: OneCall, loras: Sequence[Lora]) -> torch.Tensor:
    with fused(pipeline.transformer, loras):
        return pipeline()


def acting(transformer: Any, adapters: Sequence[Adapter], method: Method) -> list[int]:
    """Return the adapter that acts in all slots, per step of ten."""
    indices = []
    for step in range(10):
        pipeline = OneCall(transformer, step, steps=10)
        output = run(pipeline, adapters, method)
        alone = [torch.equal(output, with_loras(pipeline, [one.lora])) for one in adapters]
        indices.append(alone.index(True))
    return indices


def test_scales_of_the_paper_and_of_the_released_code() -> None:
    assert [scale_of_style(share) for share in (0, 0.5, 1)] == [0.5, 1.25, 2.0]
    assert scale_released(0) == pytest.approx(1.275)
    assert scale_released(0.1) == pytest.approx(1.425)
    assert scale_released(0.2) == pytest.approx(0.075), "modulo alpha"


def test_content_acts_first_and_then_style(transformer: Any) -> None:
    assert acting(transformer, [CONTENT, STYLE], "klora") == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert acting(transformer, [CONTENT, STYLE], "klora_released") == [1, 1, 0, 0, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("method", ["klora", "klora_released"])
def test_a_stronger_adapter_acts_no_sooner(transformer: Any, method: Method) -> None:
    stronger = replace(STYLE, lora=strengthened(STYLE.lora, 5.0))
    expected = acting(transformer, [CONTENT, STYLE], method)
    assert acting(transformer, [CONTENT, stronger], method) == expected


def test_a_slot_that_one_adapter_changes_always_has_it(transformer: Any) -> None:
    names = list(CONTENT.lora)
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    content, style = (
        replace(one, lora={name: one.lora[name] for name in half})
        for one, half in zip((CONTENT, STYLE), halves, strict=True)
    )
    for method in PAIRS_ONLY:
        for step in (0, 9):
            pipeline = OneCall(transformer, step, steps=10)
            output = run(pipeline, [content, style], method)
            assert torch.equal(output, with_loras(pipeline, [content.lora | style.lora]))


@pytest.mark.parametrize("method", ["klora", "klora_released"])
def test_other_numbers_of_adapters_are_an_error(transformer: Any, method: Method) -> None:
    with pytest.raises(MismatchError, match=r"but 3 are given \(.*\): give two"):
        run(OneCall(transformer), [adapter(1), adapter(2), adapter(3)], method)


def test_magnitudes_are_of_the_product_of_the_ranks(transformer: Any) -> None:
    adapters = [adapter(1), adapter(2, rank=5)]
    name = next(iter(adapters[1].lora))
    row = measure(transformer, adapters)[name]
    for index, one in enumerate(adapters):
        values = delta(one.lora[name]).abs().flatten().sort(descending=True).values
        assert row[index].largest == pytest.approx(float(values[: 4 * 5].sum()), rel=1e-5)
        assert row[index].total == pytest.approx(float(values.sum()), rel=1e-5)


def test_the_released_balance_leaves_out_outliers() -> None:
    def slot(ratio: float) -> dict[int, Magnitudes]:
        return {0: Magnitudes(0.0, ratio), 1: Magnitudes(0.0, 1.0)}

    assert _mean_ratio([slot(1.0), slot(3.0)]) == 2.0
    assert _mean_ratio([*[slot(1.0)] * 9, slot(91.0)]) == 1.0
