"""What all methods of fusion have in common."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from autolora.errors import MismatchError
from autolora.fusion import store as fusion
from autolora.fusion.global_lora import KEPT_SETS, GlobalLoras
from autolora.fusion.install import fused
from autolora.fusion.methods import attach, strengthened, to_adapter
from autolora.lora.factors import Factors
from autolora.lora.slots import escape, slots
from autolora.params import METHODS, Method
from autolora.records import Hit
from tests.fusion.rules.adapters import HALF_OPEN, adapter, load_gates, run, scaled_up
from tests.support.one_call import OneCall, build_transformer
from tests.support.tiny_flux import CONFIG

ADAPTERS = [adapter(1), adapter(2), adapter(3, share=0.5)]
SLOT = "transformer_blocks.0.attn.to_q"


@pytest.fixture(scope="module")
def transformer() -> Any:
    return build_transformer()


@pytest.fixture(autouse=True)
def no_kept_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep no global LoRA between tests: some have another update under the same sha256."""
    monkeypatch.setattr("autolora.fusion.install.kept", GlobalLoras(KEPT_SETS))


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
    with attach(pipeline, [], method, pytest.fail):  # no gates are needed either
        assert torch.equal(pipeline(), pipeline())
        assert not any(module._forward_hooks for module in pipeline.transformer.modules())
    assert torch.equal(run(pipeline, [], method), pipeline())


@pytest.mark.parametrize("method", [method for method in METHODS if method != "gated"])
def test_one_adapter_acts_as_its_update(pipeline: OneCall, method: Method) -> None:
    with fused(pipeline.transformer, [ADAPTERS[0].lora]):
        expected = pipeline()
    assert torch.equal(run(pipeline, ADAPTERS[:1], method), expected)


@pytest.mark.parametrize("method", METHODS)
def test_order_of_adapters_does_not_matter(pipeline: OneCall, method: Method) -> None:
    outputs = [run(pipeline, [ADAPTERS[i] for i in order], method) for order in ([0, 1, 2], [2, 0, 1])]
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)
    assert (outputs[0] - pipeline()).abs().max() > 0.01


@pytest.mark.parametrize("method", METHODS)
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
        attach(pipeline, adapters, method, load_gates)


@pytest.mark.parametrize("method", METHODS)
def test_adapter_for_a_base_model_with_more_blocks_is_an_error(pipeline: OneCall, method: Method) -> None:
    other = ADAPTERS[0].lora | {"transformer_blocks.9.attn.to_q": ADAPTERS[0].lora[SLOT]}
    with pytest.raises(
        MismatchError, match=r"changes 'transformer_blocks\.9\.attn\.to_q', which the base model does"
    ):
        attach(pipeline, [ADAPTERS[1], replace(ADAPTERS[0], lora=other)], method, load_gates)


@pytest.mark.parametrize("method", METHODS)
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


@pytest.mark.parametrize("change", ["width", "slot", "nan"])
def test_gates_that_do_not_fit_are_an_error(pipeline: OneCall, change: str) -> None:
    gates, other = load_gates(), fusion.build(CONFIG | {"attention_head_dim": 8}, HALF_OPEN)
    name = escape(SLOT)
    if change == "nan":
        tensors = gates.state_dict()
        tensors[f"model_dict.{name}.bias"][0] = torch.nan
        with pytest.raises(MismatchError, match=r"values that are not finite, first in .*attn___to_q\.bias"):
            fusion.assemble(tensors, gates.variant, {slot.name: slot.d_out for slot in slots(CONFIG)})
        return
    if change == "width":
        gates.model_dict[name] = other.model_dict[name]
    else:
        del gates.model_dict[name]
    with pytest.raises(
        MismatchError, match=r"no gate of width 32 for slot 'transformer_blocks\.0\.attn\.to_q'"
    ):
        attach(pipeline, ADAPTERS[:2], "gated", lambda: gates)


def test_an_unknown_method_names_the_known_ones(pipeline: OneCall) -> None:
    unknown: Any = "gatted"
    with pytest.raises(ValueError, match=r"'gatted' \(did you mean 'gated'\?\): give one of direct, gated"):
        attach(pipeline, ADAPTERS, unknown, load_gates)


def hit(seed: int, strength: float) -> Hit:
    return Hit(
        rank=1, score=0.5, relevance=0.2 * seed, sha256=f"{seed:064x}", hub="huggingface", id=f"someone/{seed}",
        file="x.safetensors", license=None, nsfw=False, trigger_words=(), index="", strength=strength,
    )  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_hit_acts_with_its_strength(pipeline: OneCall, method: Method) -> None:
    expected = run(pipeline, [replace(ADAPTERS[0], lora=strengthened(ADAPTERS[0].lora, 0.7))], method)
    acting = to_adapter(hit(1, 0.7), ADAPTERS[0].lora)
    with attach(pipeline, [acting], method, load_gates):
        assert torch.equal(pipeline(), expected)
    assert (acting.sha256, acting.relevance) == (f"{1:064x}", 0.2)
