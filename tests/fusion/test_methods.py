"""What all methods of fusion have in common."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from autolora.errors import MismatchError
from autolora.fusion.hits import fused_hits
from autolora.fusion.install import fused, strengthened
from autolora.fusion.methods import attach
from autolora.lora.factors import Factors
from autolora.params import METHODS, Method
from autolora.records import Hit
from tests.fusion.rules.adapters import DENSE, adapter, load_gates, run, scaled_up
from tests.support.one_call import OneCall, build_transformer

ADAPTERS = [adapter(1), adapter(2), adapter(3, share=0.5)]
PAIRS_ONLY = ("klora", "klora_released")
"""methods for two adapters, of which the second is the style: the order is their input"""
FACTORWISE = ("ties_factors", "dare_factors")
"""methods that depend on how an update is split into factors"""


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


@pytest.fixture
def pipeline(transformer: Any) -> Iterator[OneCall]:
    pipeline = OneCall(transformer, step=6, steps=10)
    before = pipeline()
    yield pipeline
    assert torch.equal(pipeline(), before), "the transformer is as it was"
    for hooks in (m._forward_hooks | m._forward_pre_hooks for m in transformer.modules()):
        assert not hooks


@pytest.mark.parametrize("method", METHODS)
def test_without_adapters_the_base_model_is_as_it_is(pipeline: OneCall, method: Method) -> None:
    assert torch.equal(run(pipeline, [], method), pipeline())


@pytest.mark.parametrize("method", [method for method in METHODS if method != "gated"])
def test_one_adapter_acts_as_its_update(pipeline: OneCall, method: Method) -> None:
    with fused(pipeline.transformer, [ADAPTERS[0].lora]):
        expected = pipeline()
    assert torch.equal(run(pipeline, ADAPTERS[:1], method), expected)


@pytest.mark.parametrize("method", [method for method in METHODS if method not in PAIRS_ONLY])
def test_order_of_adapters_does_not_matter(pipeline: OneCall, method: Method) -> None:
    outputs = [run(pipeline, [ADAPTERS[i] for i in order], method) for order in ([0, 1, 2], [2, 0, 1])]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)
    assert (outputs[0] - pipeline()).abs().max() > 0.01


@pytest.mark.parametrize("method", [method for method in METHODS if method not in FACTORWISE])
def test_strength_is_a_factor_of_the_update(pipeline: OneCall, method: Method) -> None:
    """An adapter of strength -0.5 acts as one whose file holds -0.5 times the update: the strength acts once."""
    first, second = ADAPTERS[:2]
    weaker = replace(first, lora=strengthened(first.lora, -0.5))
    other_file = replace(first, lora=scaled_up(first.lora, -0.5))
    output = run(pipeline, [weaker, second], method)
    torch.testing.assert_close(output, run(pipeline, [other_file, second], method), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision(transformer: Any, method: Method) -> None:
    exact = run(OneCall(transformer), ADAPTERS[:2], method)
    output = run(OneCall(copy.deepcopy(transformer).bfloat16()), ADAPTERS[:2], method)
    assert output.dtype == torch.bfloat16
    assert torch.cosine_similarity(output.float().flatten(), exact.flatten(), dim=0) > 0.98


@pytest.mark.parametrize("method", METHODS)
def test_adapter_for_another_base_model_is_an_error(pipeline: OneCall, method: Method) -> None:
    other = dict(ADAPTERS[0].lora)
    name = next(iter(other))
    other[name] = Factors(other[name].down[:, :-1], other[name].up, 1.0)
    adapters = [ADAPTERS[1], replace(ADAPTERS[0], lora=other)]
    with pytest.raises(MismatchError, match="another base model"):
        attach(pipeline, adapters, method, DENSE, load_gates)


def test_an_unknown_method_names_the_known_ones(pipeline: OneCall) -> None:
    unknown: Any = "velocty"
    with pytest.raises(ValueError, match=r"no method of fusion 'velocty': give one of direct, .*velocity"):
        attach(pipeline, ADAPTERS, unknown, DENSE, load_gates)


def hit(seed: int, strength: float) -> Hit:
    return Hit(
        rank=1, score=0.5, relevance=0.2 * seed, sha256=f"{seed:064x}", hub="huggingface", id=f"someone/{seed}",
        file="x.safetensors", license=None, nsfw=False, trigger_words=(), index="", strength=strength,
    )  # fmt: skip


def loras(sha256: str) -> Any:
    return adapter(int(sha256, 16)).lora


def test_hits_act_with_their_strength_and_those_of_strength_0_do_not(pipeline: OneCall) -> None:
    expected = run(pipeline, [replace(ADAPTERS[0], lora=strengthened(ADAPTERS[0].lora, 0.7))], "mean")
    hits = [hit(1, 0.7), hit(2, 0.0)]
    with fused_hits(pipeline, hits, loras, "mean", DENSE, load_gates):
        assert torch.equal(pipeline(), expected)


@pytest.mark.parametrize("strength", [float("nan"), float("inf")])
def test_a_strength_that_is_not_a_finite_number_is_an_error(pipeline: OneCall, strength: float) -> None:
    with pytest.raises(MismatchError, match=r"strength of adapter 'someone/1' is (nan|inf)"):
        fused_hits(pipeline, [hit(1, strength)], loras, "direct", DENSE, load_gates)
