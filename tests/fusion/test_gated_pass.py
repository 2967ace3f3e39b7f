"""The pass of all adapters through a frozen gate: equal to Eq. 6-8 as written, in chunks, compiled or not."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from autolora.fusion import gated_pass
from autolora.fusion.gate import TERMS, Gate
from autolora.fusion.gated_pass import CompiledFunction, GatedPass, Scored, choose_combine
from autolora.fusion.slot_fusion import SlotFusion
from autolora.lora.factors import Factors
from autolora.presets.fusion import FUSION, FusionVariant, GateForm
from tests.support.gate_training import PRESETS

CPU = torch.device("cpu")
FP8 = torch.float8_e4m3fn
D_IN, D_OUT, RANKS = 12, 20, (4, 2, 5, 1, 3)
DEVIATION = {torch.float32: 1e-5, torch.float64: 1e-12}


def random_gate(variant: FusionVariant) -> Gate:
    """Return a frozen gate whose parameters all differ from their initial values."""
    gate = Gate(D_OUT, variant)
    for name, parameter in gate.named_parameters():
        size = 0.3 if name.startswith("norm") or name == "weight_out" else 1.0
        parameter.data = parameter.data * (size != 1.0) + size * torch.randn_like(parameter)
    return gate.requires_grad_(False)


def random_updates(count: int, relevance: Tensor) -> list[Scored]:
    """Return adapters of unequal ranks; relevance (count,) or (count, B)."""
    return [
        (Factors(torch.randn(rank, D_IN), torch.randn(D_OUT, rank), 0.5 + index), relevance[index])
        for index, rank in enumerate(RANKS[:count])
    ]


def as_written(gate: Gate, updates: Sequence[Scored], base: Tensor, x: Tensor) -> Tensor:
    """Return Eq. 6-8 as the paper writes them, and the relevance term of this project, in float64."""
    own = {name: value.double() for name, value in gate.named_parameters()}
    hidden, x = base.double(), x.double()
    terms = {
        name: own.get(f"weight_{name}", torch.zeros(D_OUT).double()) for name in ("base", "lora", "cross")
    }

    def norm(name: str, value: Tensor) -> Tensor:
        deviation = value - value.mean(-1, keepdim=True)
        unit = deviation / (deviation.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return unit * own[f"norm_{name}.weight"] + own[f"norm_{name}.bias"]

    normed = norm("base", hidden)  # Eq. 6
    total = torch.zeros_like(hidden)
    for factors, relevance in updates:
        update = factors.scale * (x @ factors.down.double().T @ factors.up.double().T)
        normed_update = norm("lora", update)  # Eq. 6
        logits = terms["base"] * normed + terms["lora"] * normed_update
        logits = logits + terms["cross"] * (normed * normed_update) + own["bias"]  # Eq. 7
        if "weight_relevance" in own:
            logits = logits + own["weight_relevance"] * relevance.double().reshape(-1, 1, 1)
        total = total + own["weight_out"] * torch.sigmoid(logits) * update  # Eq. 8
    return hidden + total


@pytest.mark.parametrize("dtype", DEVIATION)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("form", TERMS)
def test_equals_the_equations(form: GateForm, preset: str, count: int, dtype: torch.dtype) -> None:
    torch.manual_seed(count)
    gate = random_gate(replace(PRESETS[preset], gate=form)).to(dtype)
    updates = random_updates(count, torch.rand(count))
    base, x = torch.randn(2, 7, D_OUT, dtype=dtype), torch.randn(2, 7, D_IN, dtype=dtype)
    output = GatedPass(updates, gate, CPU, dtype)(base, x)
    expected = as_written(gate, updates, base, x)
    deviation = DEVIATION[dtype]
    torch.testing.assert_close(output.double(), expected, atol=10 * deviation, rtol=deviation)


@pytest.mark.parametrize("numbers", [1, 5 * 3 * D_OUT, 2**19])
def test_chunks_and_relevance_per_sample(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gated_pass, "CHUNK", numbers)
    torch.manual_seed(0)
    gate = random_gate(FUSION["best"])
    updates = [*random_updates(2, torch.rand(2, 3)), (random_updates(1, torch.zeros(1))[0])]
    base, x = torch.randn(3, 7, D_OUT), torch.randn(3, 7, D_IN)
    output = GatedPass(updates, gate, CPU, torch.float32)(base, x)
    torch.testing.assert_close(output.double(), as_written(gate, updates, base, x), atol=1e-4, rtol=1e-5)


def test_half_precision_is_near_the_equations_for_gates_of_both_precisions() -> None:
    torch.manual_seed(0)
    gate = random_gate(FUSION["best"])
    updates = random_updates(3, torch.rand(3))
    base, x = torch.randn(1, 30, D_OUT).bfloat16(), torch.randn(1, 30, D_IN).bfloat16()
    expected = as_written(gate, updates, base, x).flatten()
    for precision in (torch.float32, torch.bfloat16):
        output = GatedPass(updates, gate.to(precision), CPU, torch.bfloat16)(base, x)
        assert output.dtype == torch.bfloat16
        assert torch.cosine_similarity(output.double().flatten(), expected, dim=0) > 0.9999


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_inputs_of_any_shape(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    gate, updates = random_gate(FUSION["paper"]), random_updates(2, torch.ones(2))
    base, x = torch.randn(*shape, D_OUT), torch.randn(*shape, D_IN)
    flat = as_written(gate, updates, base.reshape(1, -1, D_OUT), x.reshape(1, -1, D_IN))
    output = GatedPass(updates, gate, CPU, torch.float32)(base, x)
    assert output.shape == base.shape
    torch.testing.assert_close(output.double().reshape(flat.shape), flat, atol=1e-4, rtol=1e-5)


def test_an_update_of_zero_changes_nothing() -> None:
    zero = Factors(torch.randn(3, D_IN), torch.zeros(D_OUT, 3), 1.0)
    base = torch.randn(1, 4, D_OUT)
    run = GatedPass([(zero, torch.ones(()))], random_gate(FUSION["best"]), CPU, torch.float32)
    assert torch.equal(run(base, torch.randn(1, 4, D_IN)), base)


def test_gradients_to_the_input_of_a_frozen_gate_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    gate, updates = random_gate(FUSION["best"]), random_updates(2, torch.rand(2))
    base, x = torch.randn(1, 4, D_OUT), torch.randn(1, 4, D_IN, requires_grad=True)
    fusion = SlotFusion(updates, gate)
    assert fusion.has_fast_pass and not SlotFusion(updates, Gate(D_OUT, FUSION["best"])).has_fast_pass
    output = fusion(base, x)
    (gradient,) = torch.autograd.grad(output.sum(), x)
    (expected,) = torch.autograd.grad(as_written(gate, updates, base, x).sum(), x)
    torch.testing.assert_close(gradient, expected.float(), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(fusion(base, x), output.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("device", "dtype", "tokens", "chosen"),
    [
        ("cpu", torch.float32, 4096, gated_pass.combine),
        ("cpu", torch.bfloat16, 4096, gated_pass.compiled_combine),
        ("cpu", torch.bfloat16, 16, gated_pass.combine),
        ("meta", torch.bfloat16, 4096, gated_pass.read_once),
    ],
)
def test_what_is_compiled(device: str, dtype: torch.dtype, tokens: int, chosen: Any) -> None:
    function, _ = choose_combine(torch.empty(tokens, 3072, device=device, dtype=dtype))
    assert function is chosen


@pytest.mark.slow
def test_compiled_equals_plain(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(gated_pass, "COMPILED_FROM", 1)
    monkeypatch.setattr(gated_pass, "COMPILED_CHUNK", 4 * 2 * D_OUT)
    torch.manual_seed(0)
    gate, updates = random_gate(FUSION["paper"]), random_updates(2, torch.ones(2))
    base, x = torch.randn(1, 30, D_OUT).bfloat16(), torch.randn(1, 30, D_IN).bfloat16()
    run = GatedPass(updates, gate, CPU, torch.bfloat16)
    compiled = run(base, x)
    assert "without torch.compile" not in caplog.text
    monkeypatch.setattr(gated_pass, "COMPILED_FROM", 2**60)
    torch.testing.assert_close(compiled, run(base, x))


@pytest.mark.slow
def test_without_a_compiler_the_function_itself_runs_and_the_log_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def add_one(value: Tensor) -> Tensor:
        return value.sin() + 1

    config: Any = pytest.importorskip("torch._inductor.config")
    function, value = CompiledFunction(add_one), torch.randn(64)
    with (
        config.patch({"cpp.cxx": ("/no/compiler",), "force_disable_caches": True}),
        caplog.at_level(logging.WARNING),
    ):
        assert all(torch.equal(function(value), add_one(value)) for _ in range(2))
    messages = [record.message for record in caplog.records if record.name == "autolora.fusion.gated_pass"]
    assert len(messages) == 1 and "the gates run without torch.compile" in messages[0]


def test_adapters_of_8_bit_floats_are_as_their_values_in_float32() -> None:
    gate = random_gate(FUSION["best"])
    relevance = torch.rand(3)
    (first, _), (second, _), (third, _) = random_updates(3, relevance)
    small = [Factors(one.down.to(FP8), one.up.to(FP8), one.scale) for one in (first, second)]
    large = [Factors(one.down.float(), one.up.float(), one.scale) for one in small]
    base, x = torch.randn(2, 3, D_OUT), torch.randn(2, 3, D_IN)
    first_result, second_result = (
        GatedPass([*zip([*factors, third], relevance, strict=True)], gate, CPU, torch.float32)(base, x)
        for factors in (small, large)
    )
    assert torch.equal(first_result, second_result)
