"""The gate: its own promises."""

import pytest
import torch

from autolora.fusion.gate import TERMS, Gate, Gates, GateSpec, calibrate, escape


def spec(form: str = "full", *, relevance: bool = False, **values: float) -> GateSpec:
    start = {"spread": 1.0, "bias": 0.0, "scale": 1.0, "relevance_weight": 6.0, "global_rank": 0} | values
    return GateSpec(form=form, relevance=relevance, **start)


@pytest.mark.parametrize("form", TERMS)
def test_a_zero_update_changes_nothing_at_all(form: str) -> None:
    base = torch.randn(2, 5, 16)
    gate = Gate(16, spec(form, relevance=True))
    assert torch.equal(gate(base, [(torch.zeros_like(base), torch.tensor(0.7))]), base)
    assert torch.equal(gate(base, []), base)


def test_relevance_opens_and_closes() -> None:
    gate = Gate(8, spec(relevance=True, spread=0.0, bias=-3.0))
    base, one = torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    opened = gate(base, [(one, torch.tensor(1.0))]) - base
    closed = gate(base, [(one, torch.tensor(0.0))]) - base
    torch.testing.assert_close(opened, one * torch.sigmoid(torch.tensor(3.0)))
    torch.testing.assert_close(closed, one * torch.sigmoid(torch.tensor(-3.0)))


def test_relevance_may_differ_within_a_batch() -> None:
    gate = Gate(8, spec(relevance=True))
    base, one = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    scores = torch.tensor([0.2, 0.9])
    whole = gate(base, [(one, scores)])
    for row in range(2):
        alone = gate(base[row : row + 1], [(one[row : row + 1], scores[row])])
        torch.testing.assert_close(whole[row : row + 1], alone)


def test_gates_are_found_by_slot_and_named_as_published() -> None:
    gates = Gates({"blocks.0.attn.a_to_qkv": 12, "single_blocks.1.norm.linear": 6}, spec())
    assert "blocks.0.attn.a_to_qkv" in gates
    assert "blocks.0.attn.a_to_out" not in gates
    assert "model_dict.blocks___0___attn___a_to_qkv.weight_base" in gates.state_dict()
    assert len(gates.state_dict()) == 2 * 9
    assert escape("a.0.b") == "a___0___b"


def test_relevances_of_scores_are_clipped() -> None:
    assert calibrate([-1.0, 0.2, 0.4, 0.9], floor=0.2, ceiling=0.6) == pytest.approx((0, 0, 0.5, 1))
