"""The gate: a zero update, relevance, and the names of its parameters."""

from dataclasses import replace

import pytest
import torch

from autolora.fusion.gate import TERMS, Gate, Gates
from autolora.presets.fusion import FUSION, FusionVariant, GateForm

RANDOM = replace(FUSION["best"], relevance=False, init_std=1.0, init_bias=0.0, global_rank=0)


def with_relevance(**overrides: object) -> FusionVariant:
    return replace(RANDOM, relevance=True, relevance_weight=6.0, **overrides)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", TERMS)
def test_zero_update_changes_nothing(form: GateForm) -> None:
    base = torch.randn(2, 5, 16)
    gate = Gate(16, with_relevance(gate=form))
    assert torch.equal(gate(base, [(torch.zeros_like(base), torch.tensor(0.7))]), base)
    assert torch.equal(gate(base, []), base)


def test_relevance_opens_and_closes_the_gate() -> None:
    gate = Gate(8, with_relevance(init_std=0.0, init_bias=-3.0))
    base, update = torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    relevant = gate(base, [(update, torch.tensor(1.0))]) - base
    irrelevant = gate(base, [(update, torch.tensor(0.0))]) - base
    torch.testing.assert_close(relevant, update * torch.sigmoid(torch.tensor(3.0)))
    torch.testing.assert_close(irrelevant, update * torch.sigmoid(torch.tensor(-3.0)))


def test_relevance_can_differ_within_a_batch() -> None:
    gate = Gate(8, with_relevance())
    base, update = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    relevance = torch.tensor([0.2, 0.9])
    batch = gate(base, [(update, relevance)])
    for row in range(2):
        single = gate(base[row : row + 1], [(update[row : row + 1], relevance[row])])
        torch.testing.assert_close(batch[row : row + 1], single)


@pytest.mark.parametrize("form", TERMS)
def test_terms_that_the_form_omits_are_none(form: GateForm) -> None:
    gate = Gate(8, replace(RANDOM, gate=form))
    present = {term for term in ("base", "lora", "cross") if getattr(gate, f"weight_{term}") is not None}
    assert present == set(TERMS[form])
    assert gate.weight_relevance is None


def test_scalar_gate_has_one_number_per_slot() -> None:
    variant = with_relevance(gate="scalar", init_output_scale=0.5)
    gate = Gate(8, variant)
    base, update, relevance = torch.randn(3, 4, 8), torch.randn(3, 4, 8), torch.tensor(0.4)
    value = torch.sigmoid(gate.bias + 6.0 * relevance)
    assert gate.bias.shape == gate.weight_out.shape == value.shape == (1,)
    torch.testing.assert_close(gate(base, [(update, relevance)]), base + 0.5 * value * update)


def test_gates_are_looked_up_by_slot_and_named_as_published() -> None:
    gates = Gates({"blocks.0.attn.a_to_qkv": 12, "single_blocks.1.norm.linear": 6}, RANDOM)
    assert "blocks.0.attn.a_to_qkv" in gates
    assert "blocks.0.attn.a_to_out" not in gates
    assert "model_dict.blocks___0___attn___a_to_qkv.weight_base" in gates.state_dict()
    assert len(gates.state_dict()) == 2 * 9
