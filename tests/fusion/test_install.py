"""Installing adapters: what it adds, what it leaves alone, and that nothing stays behind."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.errors import MismatchError
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates, GateSpec
from autolora.fusion.global_lora import global_lora
from autolora.fusion.install import fused, update
from autolora.lora.factors import Factors, delta, fuse, fuse_all
from autolora.slots import fused_slots, slots
from tests.support.tiny_flux import CONFIG, random_lora

SPEC = GateSpec(
    form="full", relevance=True, spread=0.5, bias=0.0, scale=1.0, relevance_weight=2.0, global_rank=4
)


@pytest.fixture(scope="module")
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def gates() -> Gates:
    torch.manual_seed(1)
    return fusion.build(slots(CONFIG), SPEC)


@torch.no_grad()
def run(transformer: Any) -> Tensor:
    draw = torch.Generator().manual_seed(2)
    ids = torch.zeros(4, 3)
    ids[:, 1:] = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    output: Tensor = transformer(
        hidden_states=torch.randn(2, 4, 16, generator=draw).to(transformer.dtype),
        timestep=torch.tensor([0.3, 0.8]),
        guidance=torch.full((2,), 3.5),
        pooled_projections=torch.randn(2, 16, generator=draw).to(transformer.dtype),
        encoder_hidden_states=torch.randn(2, 5, 16, generator=draw).to(transformer.dtype),
        txt_ids=torch.zeros(5, 3),
        img_ids=ids,
        return_dict=False,
    )[0]
    return output


def test_direct_equals_merged_weights(transformer: Any) -> None:
    loras = [random_lora(1), random_lora(2, rank=5, share=0.5)]
    with fused(transformer, loras, weights=[1.0, 0.7]):
        found = run(transformer)
    kept = {name: value.clone() for name, value in transformer.state_dict().items()}
    for lora, weight in zip(loras, [1.0, 0.7], strict=True):
        for name, factors in lora.items():
            transformer.get_submodule(name).weight.add_(weight * delta(factors))
    merged = run(transformer)
    transformer.load_state_dict(kept)
    assert (merged - run(transformer)).abs().max() > 0.1
    torch.testing.assert_close(found, merged, atol=1e-4, rtol=1e-4)


def test_nothing_stays_behind_even_after_an_error(transformer: Any, gates: Gates) -> None:
    before = run(transformer)
    with pytest.raises(KeyError), fused(transformer, [random_lora(1)], gates=gates):
        assert not torch.equal(run(transformer), before)
        raise KeyError
    assert torch.equal(run(transformer), before)
    assert not any(module._forward_hooks for module in transformer.modules())


@pytest.mark.parametrize("gated", [False, True])
def test_no_adapters_and_zero_adapters_change_nothing_at_all(
    transformer: Any, gates: Gates, gated: bool
) -> None:
    before = run(transformer)
    zero = {name: Factors(part.down, torch.zeros_like(part.up), 1.0) for name, part in random_lora(1).items()}
    for loras in ([], [zero], [zero, zero]):
        with fused(transformer, loras, gates=gates if gated else None):
            assert torch.equal(run(transformer), before)


@pytest.mark.parametrize("gated", [False, True])
def test_order_does_not_matter(transformer: Any, gates: Gates, gated: bool) -> None:
    loras, relevance = [random_lora(1), random_lora(2, rank=5), random_lora(3, share=0.3)], [0.9, 0.2, 0.6]
    outputs = []
    for order in ([0, 1, 2], [2, 0, 1]):
        chosen = [loras[i] for i in order], [relevance[i] for i in order]
        with fused(transformer, chosen[0], gates=gates if gated else None, relevance=chosen[1]):
            outputs.append(run(transformer))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-4, rtol=1e-4)


def test_relevance_is_heard_and_may_differ_by_sample(transformer: Any, gates: Gates) -> None:
    def with_relevance(relevance: Any) -> Tensor:
        with fused(transformer, [random_lora(1), random_lora(2)], gates=gates, relevance=relevance):
            return run(transformer)

    one, other = with_relevance([1.0, 0.0]), with_relevance([0.0, 1.0])
    mixed = with_relevance(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert (one - other).abs().max() > 0.01
    torch.testing.assert_close(mixed[0], one[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1], other[1], atol=1e-5, rtol=1e-5)


def test_a_gate_that_is_open_is_the_plain_sum(transformer: Any) -> None:
    spec = GateSpec(
        form="full", relevance=False, spread=0.0, bias=40.0, scale=1.0, relevance_weight=0.0, global_rank=0
    )
    loras = [random_lora(1), random_lora(2)]
    with fused(transformer, loras, gates=fusion.build(slots(CONFIG), spec)):
        gated = run(transformer)
    with fused(transformer, loras):
        torch.testing.assert_close(gated, run(transformer), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def wide() -> Gates:
    """Draw gates on fused slots."""
    torch.manual_seed(1)
    return fusion.build(fused_slots(CONFIG), SPEC)


def test_fused_gates_see_the_parts_of_a_slot_side_by_side(transformer: Any, wide: Gates) -> None:
    loras, scores = [random_lora(1), random_lora(2, rank=5, share=0.5)], [0.9, 0.3]
    x = torch.randn(2, 3, 32)
    parts = global_lora([fuse_all(lora, fused_slots(CONFIG)) for lora in loras], SPEC.global_rank)
    for slot in fused_slots(CONFIG):
        linears = [transformer.get_submodule(part.name) for part in slot.parts]
        given = x if slot.d_in == 32 else torch.randn(2, 3, slot.d_in)
        base = torch.cat([linear(given) for linear in linears], dim=-1)
        known = [(fuse(lora, slot), score) for lora, score in zip(loras, scores, strict=True)]
        known.append((parts.get(slot.name), 0.0))
        gated = wide.of(slot.name)(
            base, [(update(one, given), torch.tensor(score)) for one, score in known if one is not None]
        )
        with fused(transformer, loras, gates=wide, relevance=scores):
            for order in (linears, linears[::-1]):
                found = {id(linear): linear(given) for linear in order}
                joined = torch.cat([found[id(linear)] for linear in linears], dim=-1)
                torch.testing.assert_close(joined, gated, atol=1e-5, rtol=1e-5)


def test_fused_gates_that_are_open_are_the_plain_sum(transformer: Any) -> None:
    spec = GateSpec(
        form="full", relevance=False, spread=0.0, bias=40.0, scale=1.0, relevance_weight=0.0, global_rank=0
    )
    loras = [random_lora(1), random_lora(2, share=0.4)]
    with fused(transformer, loras, gates=fusion.build(fused_slots(CONFIG), spec)):
        gated = run(transformer)
    with fused(transformer, loras):
        torch.testing.assert_close(gated, run(transformer), atol=1e-5, rtol=1e-5)


def test_fused_gates_leave_no_trace_and_nothing_of_a_zero_adapter(transformer: Any, wide: Gates) -> None:
    before = run(transformer)
    zero = {name: Factors(part.down, torch.zeros_like(part.up), 1.0) for name, part in random_lora(1).items()}
    for loras in ([], [zero], [zero, zero]):
        with fused(transformer, loras, gates=wide):
            assert torch.equal(run(transformer), before)
    with fused(transformer, [random_lora(1)], gates=wide):
        first = run(transformer)
        assert torch.equal(run(transformer), first) and not torch.equal(first, before)
    assert torch.equal(run(transformer), before)
    assert not any(module._forward_hooks for module in transformer.modules())


def test_the_global_lora_joins_two_adapters_but_not_one(transformer: Any) -> None:
    spec = GateSpec(
        form="full", relevance=False, spread=0.0, bias=0.0, scale=1.0, relevance_weight=0.0, global_rank=4
    )
    torch.manual_seed(0)
    with_global = fusion.build(slots(CONFIG), spec)
    outputs = []
    for count in (1, 2):
        for rank in (0, 4):
            with_global.spec = GateSpec(
                **{field: getattr(spec, field) for field in spec.__slots__} | {"global_rank": rank}
            )
            with fused(transformer, [random_lora(i) for i in range(count)], gates=with_global):
                outputs.append(run(transformer))
    assert torch.equal(outputs[0], outputs[1])
    assert (outputs[2] - outputs[3]).abs().max() > 1e-3


@pytest.mark.parametrize("damage", ["shape", "slot"])
def test_an_adapter_for_another_base_is_named(transformer: Any, damage: str) -> None:
    lora = random_lora(1)
    name = next(iter(lora))
    if damage == "shape":
        lora[name] = Factors(lora[name].down[:, :-1], lora[name].up, 1.0)
    else:
        lora["transformer_blocks.7.attn.to_q"] = lora[name]
    with pytest.raises(MismatchError, match="another base"), fused(transformer, [lora]):
        pass
    assert not any(module._forward_hooks for module in transformer.modules())


def test_gates_of_another_base_are_named(transformer: Any) -> None:
    other = fusion.build(slots(CONFIG | {"num_single_layers": 1}), SPEC)
    with pytest.raises(MismatchError, match="gates"), fused(transformer, [random_lora(1)], gates=other):
        pass


def test_half_precision_bases_take_gates_of_either_precision(transformer: Any, gates: Gates) -> None:
    loras = [random_lora(1), random_lora(2)]
    with fused(transformer, loras, gates=gates):
        exact = run(transformer)
    half = copy.deepcopy(transformer).bfloat16()
    for precision in (torch.float32, torch.bfloat16):
        with fused(half, loras, gates=copy.deepcopy(gates).to(precision)):
            found = run(half)
        assert found.dtype == torch.bfloat16
        assert torch.cosine_similarity(found.float().flatten(), exact.flatten(), dim=0) > 0.99
