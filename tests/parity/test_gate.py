"""The gate equals the released gate, the released checkpoints' layout, and a second derivation."""

import hashlib
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.gate import TERMS, Gate, Gates, GateSpec
from autolora.fusion.released_format import find_form, load_published, save_published
from autolora.slots import fused_slots, slots
from tests.parity import cases, rnd

FLUX = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
TINY = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}


def spec(form: str, **values: float) -> GateSpec:
    start = {"spread": 1.0, "bias": 0.0, "scale": 1.0, "relevance_weight": 0.0, "global_rank": 0}
    return GateSpec(form=form, relevance=False, **start | values)


def updates(x: Tensor, downs: list[Tensor], ups: list[Tensor]):
    return ((F.linear(F.linear(x, a), b), torch.tensor(1.0)) for a, b in zip(downs, ups, strict=True))


def loaded(form: str, values: dict[str, Tensor]) -> Gate:
    gate = Gate(len(values["bias"]), spec(form))
    gate.load_state_dict({name: values[name] for name in gate.state_dict()})
    return gate


@cache
def given(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def found(pattern: str) -> list[pytest.ParameterSet]:
    """Return path, key and the pattern's groups for every key that fits in every file."""
    return [
        pytest.param(path, key, match.groups(), id=f"{path.stem}-{key}")
        for path in cases("fusion_*.safetensors")
        for key in sorted(given(path))
        if (match := re.fullmatch(pattern, key))
    ]


def run(path: Path, form: str, count: int, inputs: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return output and openings of the file's gate, everything in one precision."""
    tensors = {name: one.to(dtype) for name, one in given(path).items()}
    gate = loaded(form, {name[2:]: one for name, one in tensors.items() if name.startswith("g.")}).to(dtype)
    x, bias = tensors[inputs], tensors.get("b")
    base = F.linear(x, tensors["W"], bias)
    downs, ups = ([tensors[f"{letter}{i}"] for i in range(count)] for letter in "AB")
    openings = torch.stack(list(gate.openings(base, updates(x, downs, ups))))
    return gate(base, updates(x, downs, ups)), openings


@pytest.mark.parametrize(("path", "key", "of"), found(r"(\w+)\.k(\d+)\.(\w+)\.out"))
def test_equals_the_released_gate(path: Path, key: str, of: tuple[str, str, str]) -> None:
    out, _ = run(path, of[0], int(of[1]), of[2], torch.float32)
    torch.testing.assert_close(out, given(path)[key], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("path", "key", "of"), found(r"k(\d+)\.(\w+)\.gate"))
def test_opens_as_the_released_gate(path: Path, key: str, of: tuple[str, str]) -> None:
    _, openings = run(path, "full", int(of[0]), of[1], torch.float32)
    torch.testing.assert_close(openings, given(path)[key], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("path", "key", "of"), found(r"(\w+)\.k(\d+)\.(\w+)\.out_bf16"))
def test_equals_the_released_gate_in_bfloat16(path: Path, key: str, of: tuple[str, str, str]) -> None:
    out, _ = run(path, of[0], int(of[1]), of[2], torch.bfloat16)
    cosine = F.cosine_similarity(out.float().flatten(), given(path)[key].flatten(), dim=0)
    assert cosine >= 0.9999


@pytest.mark.parametrize(
    ("form", "count", "first", "norm", "opening"),
    [
        ("full", 1, [-0.22866, 0.02345, 0.50860, 0.66675], 6.09896, 0.50399),
        ("full", 2, [-0.24344, 0.05437, 0.48362, 0.65680], 6.18488, 0.52237),
        ("full", 3, [0.11572, -0.03189, 0.40307, 0.83341], 6.80757, 0.53360),
        ("no_base", 1, [-0.22713], 6.07880, 0.56135),
        ("no_base", 2, [-0.24199], 6.18395, 0.57245),
        ("no_base", 3, [0.11936], 6.94126, 0.58417),
        ("no_cross", 1, [-0.26797], 6.08587, 0.53340),
        ("no_cross", 2, [-0.28261], 6.17493, 0.55289),
        ("no_cross", 3, [-0.00611], 6.66746, 0.55896),
        ("no_lora", 1, [-0.16682], 5.98281, 0.50471),
        ("no_lora", 2, [-0.18193], 6.06879, 0.51180),
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
    gate = loaded(form, values).double()
    gate.load_state_dict({name: values[name] for name in gate.state_dict()})
    x = rnd("g/x", (1, 3, 12))
    base = F.linear(x, rnd("g/W", (20, 12), 12**-0.5), rnd("g/b", (20,), 0.1))
    assert base[0, 0, :4].tolist() == pytest.approx([-0.49078, -0.07574, 0.59347, 0.68641], abs=2e-5)
    assert base.norm().item() == pytest.approx(5.81628, abs=2e-5)
    ranks = (4, 2, 3)[:count]
    downs = [rnd(f"g/A{i}", (rank, 12), 12**-0.5) for i, rank in enumerate(ranks)]
    ups = [rnd(f"g/B{i}", (20, rank), 0.3) for i, rank in enumerate(ranks)]
    out = gate(base, updates(x, downs, ups))
    assert out[0, 0, : len(first)].tolist() == pytest.approx(first, abs=2e-5)
    assert out.norm().item() == pytest.approx(norm, abs=2e-5)
    means = torch.stack(list(gate.openings(base, updates(x, downs, ups)))).mean()
    assert means.item() == pytest.approx(opening, abs=2e-5)


@pytest.mark.parametrize(
    ("form", "tensors", "recognized"),
    [
        ("full", 2736, "30143afb2dea73d1ac580e0787628f8c"),  # LoRAFusion-preview-FLUX.1-dev
        ("no_base", 2432, "3c0afd28d9f15e5db619da93693118c1"),
        ("no_cross", 2128, "df00d45a74f276467c9a9f5820976f6f"),
    ],
)
def test_gates_on_fused_slots_have_the_published_layout(form: str, tensors: int, recognized: str) -> None:
    with torch.device("meta"):
        gates = Gates({slot.name: slot.d_out for slot in fused_slots(FLUX)}, spec(form))
    shapes = {name: "_".join(map(str, value.shape)) for name, value in gates.state_dict().items()}
    parts = sorted([*shapes, *(f"{name}:{shape}" for name, shape in shapes.items())])
    assert len(shapes) == tensors
    assert hashlib.md5(",".join(parts).encode()).hexdigest() == recognized


@pytest.mark.parametrize("form", TERMS)
def test_published_gates_load_and_save(form: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    gates = fusion.build(fused_slots(TINY), spec(form))
    save_published(gates, tmp_path / "gates.safetensors")
    tensors = load_file(tmp_path / "gates.safetensors")
    assert find_form(tensors) == form
    again = load_published(tmp_path / "gates.safetensors", fused_slots(TINY), global_rank=4)
    assert again.fused and (again.spec.form, again.spec.global_rank) == (form, 4)
    assert all(torch.equal(one, tensors[name]) for name, one in again.state_dict().items())
    fusion.save(again, slots(TINY), tmp_path)
    kept = fusion.load(slots(TINY), tmp_path)
    assert kept.fused and fusion.digest(kept) == fusion.digest(again)


def test_published_gates_in_bfloat16_become_float32(tmp_path: Path) -> None:
    gates = fusion.build(fused_slots(TINY), spec("full")).to(torch.bfloat16)
    save_published(gates, tmp_path / "gates.safetensors")
    again = load_published(tmp_path / "gates.safetensors", fused_slots(TINY), 2)
    assert {one.dtype for one in again.state_dict().values()} == {torch.float32}


def test_what_is_no_published_gate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gates.safetensors"
    with pytest.raises(MissingArtifact, match="download"):
        load_published(path, fused_slots(TINY), 4)
    save_file({"model_dict.blocks___0___attn___a_to_qkv.weight_base": torch.zeros(3)}, path)
    with pytest.raises(MismatchError, match="no form of the gate"):
        load_published(path, fused_slots(TINY), 4)
    save_published(fusion.build(fused_slots(TINY), spec("full")), path)
    with pytest.raises(MismatchError, match="another base"):
        load_published(path, fused_slots(TINY | {"num_single_layers": 1}), 4)
    with pytest.raises(MismatchError, match="another base"):
        load_published(path, fused_slots(TINY | {"attention_head_dim": 4}), 4)
    with pytest.raises(MismatchError, match="fused slots without a relevance term"):
        save_published(fusion.build(slots(TINY), spec("full")), path)
