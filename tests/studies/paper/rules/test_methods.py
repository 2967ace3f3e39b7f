"""What all methods of the studies have in common with those of the product."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from autolora.errors import MismatchError
from autolora.fusion.methods import strengthened
from autolora.lora.factors import Factors
from autolora.params import METHODS as PRODUCT_METHODS
from studies.paper.methods import METHODS, PAIRS_ONLY, Method, attach
from tests.fusion.rules.adapters import adapter, load_gates, scaled_up
from tests.fusion.rules.adapters import run as run_product
from tests.studies.paper.rules.calls import run
from tests.support.one_call import OneCall, build_transformer

ADAPTERS = [adapter(1), adapter(2), adapter(3, share=0.5)]
OTHERS = [method for method in METHODS if method not in PRODUCT_METHODS]


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


@pytest.fixture
def pipeline(transformer: Any) -> Iterator[OneCall]:
    pipeline = OneCall(transformer, step=6, steps=10)
    before = pipeline()
    yield pipeline
    assert torch.equal(pipeline(), before), "the transformer is as it was"


@pytest.mark.parametrize("method", METHODS)
def test_one_adapter_and_none_act_as_in_the_product(pipeline: OneCall, method: Method) -> None:
    assert torch.equal(run(pipeline, [], method), pipeline())
    expected = run_product(pipeline, ADAPTERS[:1], "gated" if method == "gated" else "direct")
    assert torch.equal(run(pipeline, ADAPTERS[:1], method), expected)


@pytest.mark.parametrize("method", PRODUCT_METHODS)
def test_methods_of_the_product_are_the_same(pipeline: OneCall, method: Any) -> None:
    assert torch.equal(run(pipeline, ADAPTERS, method), run_product(pipeline, ADAPTERS, method))


@pytest.mark.parametrize("method", [method for method in OTHERS if method not in PAIRS_ONLY])
def test_order_of_adapters_does_not_matter(pipeline: OneCall, method: Method) -> None:
    outputs = [run(pipeline, [ADAPTERS[i] for i in order], method) for order in ([0, 1, 2], [2, 0, 1])]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)
    assert (outputs[0] - pipeline()).abs().max() > 0.01


@pytest.mark.parametrize("method", OTHERS)
def test_strength_is_a_factor_of_the_update(pipeline: OneCall, method: Method) -> None:
    """An adapter of strength -0.5 acts as one whose file holds -0.5 times the update: the strength acts once."""
    first, second = ADAPTERS[:2]
    weaker = replace(first, lora=strengthened(first.lora, -0.5))
    other_file = replace(first, lora=scaled_up(first.lora, -0.5))
    output = run(pipeline, [weaker, second], method)
    torch.testing.assert_close(output, run(pipeline, [other_file, second], method), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", OTHERS)
def test_half_precision(transformer: Any, method: Method) -> None:
    exact = run(OneCall(transformer), ADAPTERS[:2], method)
    output = run(OneCall(copy.deepcopy(transformer).bfloat16()), ADAPTERS[:2], method)
    assert output.dtype == torch.bfloat16
    assert torch.cosine_similarity(output.float().flatten(), exact.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("method", OTHERS)
def test_adapter_for_another_base_model_is_an_error(pipeline: OneCall, method: Method) -> None:
    name, factors = next(iter(ADAPTERS[0].lora.items()))
    other = ADAPTERS[0].lora | {name: Factors(factors.down[:, :-1], factors.up, 1.0)}
    adapters = [ADAPTERS[1], replace(ADAPTERS[0], lora=other)]
    with pytest.raises(MismatchError, match="another base model"):
        attach(pipeline, adapters, method, load_gates)


@pytest.mark.parametrize("method", [method for method in OTHERS if method not in PAIRS_ONLY])
def test_a_slot_that_an_adapter_misses_counts_as_an_update_of_zero(pipeline: OneCall, method: Method) -> None:
    first, second = ADAPTERS[:2]
    some = {name: factors for name, factors in second.lora.items() if not name.endswith("to_out.0")}
    zero = {
        name: replace(factors, up=torch.zeros_like(factors.up)) if name not in some else factors
        for name, factors in second.lora.items()
    }
    missing = run(pipeline, [first, replace(second, lora=some)], method)
    torch.testing.assert_close(
        missing, run(pipeline, [first, replace(second, lora=zero)], method), atol=1e-4, rtol=1e-4
    )
