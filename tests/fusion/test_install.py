"""Installing adapters on a transformer: what they add, and that nothing remains afterwards."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.fusion import store as fusion
from autolora.fusion.gate import Gates
from autolora.fusion.global_lora import global_update
from autolora.fusion.install import fused
from autolora.fusion.methods import strengthened
from autolora.fusion.slot_fusion import update
from autolora.lora.factors import Factors, Lora, delta, fuse
from autolora.lora.slots import fused_slots
from autolora.presets import SlotView
from autolora.presets.fusion import FUSION
from tests.support.tiny_flux import CONFIG, random_lora

RANDOM = replace(FUSION["best"], init_std=0.5, init_bias=0.0, relevance_weight=2.0)
OPEN = replace(FUSION["best"], relevance=False, init_std=0.0, init_bias=40.0, global_rank=0)
"""sigmoid(40) is 1 in float32"""


@pytest.fixture(scope="module")
def transformer() -> Any:
    from diffusers import FluxTransformer2DModel

    torch.manual_seed(0)
    return FluxTransformer2DModel(**CONFIG).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def gates() -> Gates:
    torch.manual_seed(1)
    return fusion.build(CONFIG, RANDOM).requires_grad_(False)


def zero_lora() -> Lora:
    """Return an adapter whose updates are all zero."""
    return {
        name: Factors(factors.down, torch.zeros_like(factors.up), 1.0)
        for name, factors in random_lora(1).items()
    }


@torch.no_grad()
def run(transformer: Any) -> Tensor:
    """Return the transformer's output (2, 4, 16) for fixed random inputs."""
    generator = torch.Generator().manual_seed(2)
    ids = torch.zeros(4, 3)
    ids[:, 1:] = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    output: Tensor = transformer(
        hidden_states=torch.randn(2, 4, 16, generator=generator).to(transformer.dtype),
        timestep=torch.tensor([0.3, 0.8]),
        guidance=torch.full((2,), 3.5),
        pooled_projections=torch.randn(2, 16, generator=generator).to(transformer.dtype),
        encoder_hidden_states=torch.randn(2, 5, 16, generator=generator).to(transformer.dtype),
        txt_ids=torch.zeros(5, 3),
        img_ids=ids,
        return_dict=False,
    )[0]
    return output


def test_direct_equals_merged_weights(transformer: Any) -> None:
    loras = [random_lora(1), random_lora(2, rank=5, share=0.5)]
    with fused(transformer, [loras[0], strengthened(loras[1], 0.7)]):
        direct = run(transformer)
    unchanged = {name: value.clone() for name, value in transformer.state_dict().items()}
    for lora, weight in zip(loras, [1.0, 0.7], strict=True):
        for name, factors in lora.items():
            transformer.get_submodule(name).weight.add_(weight * delta(factors))
    merged = run(transformer)
    transformer.load_state_dict(unchanged)
    assert (merged - run(transformer)).abs().max() > 0.1
    torch.testing.assert_close(direct, merged, atol=1e-4, rtol=1e-4)


def test_transformer_is_restored_also_after_an_error(transformer: Any, gates: Gates) -> None:
    before = run(transformer)
    with pytest.raises(KeyError), fused(transformer, [random_lora(1)], gates=gates):
        assert not torch.equal(run(transformer), before)
        raise KeyError
    assert torch.equal(run(transformer), before)
    assert not any(module._forward_hooks for module in transformer.modules())


@pytest.mark.parametrize("gated", [False, True])
def test_no_adapters_and_zero_adapters_change_nothing(transformer: Any, gates: Gates, gated: bool) -> None:
    before = run(transformer)
    zero = zero_lora()
    for loras in ([], [zero], [zero, zero]):
        with fused(transformer, loras, gates=gates if gated else None):
            assert torch.equal(run(transformer), before)


def test_relevance_changes_the_output_and_can_differ_per_sample(transformer: Any, gates: Gates) -> None:
    def with_relevance(relevance: Any) -> Tensor:
        with fused(transformer, [random_lora(1), random_lora(2)], gates=gates, relevance=relevance):
            return run(transformer)

    first, second = with_relevance([1.0, 0.0]), with_relevance([0.0, 1.0])
    mixed = with_relevance(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert (first - second).abs().max() > 0.01
    torch.testing.assert_close(mixed[0], first[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(mixed[1], second[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("view", ["canonical", "fused"])
def test_open_gates_give_the_plain_sum(transformer: Any, view: SlotView) -> None:
    loras = [random_lora(1), random_lora(2, share=0.4)]
    with fused(transformer, loras, gates=fusion.build(CONFIG, replace(OPEN, slots=view))):
        gated = run(transformer)
    with fused(transformer, loras):
        torch.testing.assert_close(gated, run(transformer), atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def fused_gates() -> Gates:
    torch.manual_seed(1)
    return fusion.build(CONFIG, replace(RANDOM, slots="fused")).requires_grad_(False)


def test_fused_gates_see_the_concatenated_outputs_of_a_slot(transformer: Any, fused_gates: Gates) -> None:
    loras, relevance = [random_lora(1), random_lora(2, rank=5, share=0.5)], [0.9, 0.3]
    x = torch.randn(2, 3, 32)
    for slot in fused_slots(CONFIG):
        linears = [transformer.get_submodule(part.name) for part in slot.parts]
        inputs = x if slot.d_in == 32 else torch.randn(2, 3, slot.d_in)
        base = torch.cat([linear(inputs) for linear in linears], dim=-1)
        updates = [fuse(lora, slot) for lora in loras]
        present = [factors for factors in updates if factors is not None]
        joint = global_update(present, RANDOM.global_rank) if present else None
        scored = zip([*updates, joint], [*relevance, 0.0], strict=True)
        expected = fused_gates.of(slot.name)(
            base,
            [
                (update(factors, inputs), torch.tensor(score))
                for factors, score in scored
                if factors is not None
            ],
        )
        with fused(transformer, loras, gates=fused_gates, relevance=relevance):
            for order in (linears, linears[::-1]):
                outputs = {id(linear): linear(inputs) for linear in order}
                joined = torch.cat([outputs[id(linear)] for linear in linears], dim=-1)
                torch.testing.assert_close(joined, expected, atol=1e-5, rtol=1e-5)


def test_fused_gates_restore_the_transformer_and_keep_no_state(transformer: Any, fused_gates: Gates) -> None:
    before = run(transformer)
    zero = zero_lora()
    for loras in ([], [zero], [zero, zero]):
        with fused(transformer, loras, gates=fused_gates):
            assert torch.equal(run(transformer), before)
    with fused(transformer, [random_lora(1)], gates=fused_gates):
        first = run(transformer)
        assert torch.equal(run(transformer), first) and not torch.equal(first, before)
    assert torch.equal(run(transformer), before)
    assert not any(module._forward_hooks for module in transformer.modules())


def test_global_lora_is_used_for_two_adapters_but_not_for_one(transformer: Any) -> None:
    variant = replace(FUSION["best"], relevance=False, init_bias=0.0)

    def output(num_adapters: int, global_rank: int) -> Tensor:
        gates = fusion.build(CONFIG, replace(variant, global_rank=global_rank))
        with fused(transformer, [random_lora(i) for i in range(num_adapters)], gates=gates):
            return run(transformer)

    assert torch.equal(output(1, global_rank=0), output(1, global_rank=4))
    assert (output(2, global_rank=0) - output(2, global_rank=4)).abs().max() > 1e-3
