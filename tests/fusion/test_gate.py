"""The gate against the released code's numbers, against a second derivation, and its own promises."""

import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from autolora.fusion.gate import TERMS, Gate, Gates, GateSpec, calibrate, escape
from autolora.slots import fused_slots

REFERENCE = Path(__file__).parent / "reference" / "fusion_small.safetensors"


def spec(form: str = "full", *, relevance: bool = False, **values: float) -> GateSpec:
    start = {"spread": 1.0, "bias": 0.0, "scale": 1.0, "relevance_weight": 6.0, "global_rank": 0} | values
    return GateSpec(form=form, relevance=relevance, **start)


def updates(x: Tensor, downs: list[Tensor], ups: list[Tensor], score: float = 1.0):
    return ((F.linear(F.linear(x, a), b), torch.tensor(score)) for a, b in zip(downs, ups, strict=True))


def loaded(form: str, width: int, values: dict[str, Tensor]) -> Gate:
    gate = Gate(width, spec(form))
    gate.load_state_dict({name: values[name] for name in gate.state_dict()})
    return gate


@pytest.mark.parametrize("form", TERMS)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("inputs", ["x", "x2"])
def test_equals_the_released_gate(form: str, count: int, inputs: str) -> None:
    given = load_file(REFERENCE)
    gate = loaded(form, 48, {name[2:]: value for name, value in given.items() if name.startswith("g.")})
    x = given[inputs]
    base = F.linear(x, given["W"], given["b"])
    downs, ups = ([given[f"{letter}{i}"] for i in range(count)] for letter in "AB")
    out = gate(base, updates(x, downs, ups))
    torch.testing.assert_close(out, given[f"{form}.k{count}.{inputs}.out"], atol=1e-5, rtol=0)
    if form == "full":
        openings = torch.stack(list(gate.openings(base, updates(x, downs, ups))))
        torch.testing.assert_close(openings, given[f"k{count}.{inputs}.gate"], atol=1e-5, rtol=0)


def rnd(name: str, shape: tuple[int, ...], scale: float = 1.0, shift: float = 0.0) -> Tensor:
    state = np.random.RandomState(zlib.crc32(f"parity/{name}".encode()))
    drawn = state.standard_normal(int(np.prod(shape))).astype(np.float32).reshape(shape)
    return torch.from_numpy(drawn.astype(np.float64) * scale + shift)


@pytest.mark.parametrize(
    ("form", "count", "first", "norm", "opening"),
    [
        ("full", 1, [-0.22866, 0.02345, 0.50860, 0.66675], 6.09896, 0.50399),
        ("full", 2, [-0.24344, 0.05437, 0.48362, 0.65680], 6.18488, 0.52237),
        ("full", 3, [0.11572, -0.03189, 0.40307, 0.83341], 6.80757, 0.53360),
        ("no_base", 1, [-0.22713], 6.07880, 0.56135),
        ("no_base", 3, [0.11936], 6.94126, 0.58417),
        ("no_cross", 2, [-0.28261], 6.17493, 0.55289),
        ("no_cross", 3, [-0.00611], 6.66746, 0.55896),
        ("no_lora", 1, [-0.16682], 5.98281, 0.50471),
        ("no_lora", 3, [0.30628], 6.64373, 0.52371),
    ],
)
def test_equals_a_second_derivation(
    form: str, count: int, first: list[float], norm: float, opening: float
) -> None:
    values = {f"weight_{term}": rnd(f"g/weight_{term}", (20,)) for term in ("base", "lora", "cross")}
    values |= {"bias": rnd("g/bias", (20,)), "weight_out": rnd("g/weight_out", (20,), 0.2, 1.0)}
    for name in ("norm_base", "norm_lora"):
        values[f"{name}.weight"] = rnd(f"g/{name}.weight", (20,), 0.1, 1.0)
        values[f"{name}.bias"] = rnd(f"g/{name}.bias", (20,), 0.1)
    gate = loaded(form, 20, values).double()
    gate.load_state_dict({name: values[name] for name in gate.state_dict()})
    x = rnd("g/x", (1, 3, 12))
    base = F.linear(x, rnd("g/W", (20, 12), 12**-0.5), rnd("g/b", (20,), 0.1))
    ranks = (4, 2, 3)[:count]
    downs = [rnd(f"g/A{i}", (rank, 12), 12**-0.5) for i, rank in enumerate(ranks)]
    ups = [rnd(f"g/B{i}", (20, rank), 0.3) for i, rank in enumerate(ranks)]
    out = gate(base, updates(x, downs, ups))
    assert out[0, 0, : len(first)].tolist() == pytest.approx(first, abs=2e-5)
    assert out.norm().item() == pytest.approx(norm, abs=2e-5)
    means = torch.stack(list(gate.openings(base, updates(x, downs, ups)))).mean()
    assert means.item() == pytest.approx(opening, abs=2e-5)


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


@pytest.mark.parametrize(
    ("form", "tensors", "recognised"),
    [
        ("full", 2736, "30143afb2dea73d1ac580e0787628f8c"),  # LoRAFusion-preview-FLUX.1-dev
        ("no_base", 2432, "3c0afd28d9f15e5db619da93693118c1"),
        ("no_cross", 2128, "df00d45a74f276467c9a9f5820976f6f"),
    ],
)
def test_gates_on_fused_slots_have_the_published_layout(form: str, tensors: int, recognised: str) -> None:
    flux_dev = {
        "num_layers": 19,
        "num_single_layers": 38,
        "num_attention_heads": 24,
        "attention_head_dim": 128,
    }
    with torch.device("meta"):
        gates = Gates({slot.name: slot.d_out for slot in fused_slots(flux_dev)}, spec(form))
    shapes = {name: "_".join(map(str, value.shape)) for name, value in gates.state_dict().items()}
    parts = sorted([*shapes, *(f"{name}:{shape}" for name, shape in shapes.items())])
    assert len(shapes) == tensors
    assert hashlib.md5(",".join(parts).encode()).hexdigest() == recognised


def test_relevances_of_scores_are_clipped() -> None:
    assert calibrate([-1.0, 0.2, 0.4, 0.9], floor=0.2, ceiling=0.6) == pytest.approx((0, 0, 0.5, 1))
