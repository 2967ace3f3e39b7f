"""The gate equals the released gate and a second derivation; gates load from and save to the published layout."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store as fusion
from autolora.fusion.gate import Gate
from autolora.lora.slots import slots
from autolora.presets.fusion import FusionVariant, GateForm
from studies.released.gates import find_form, load_released
from studies.released.presets import FUSION
from tests.parity import cases, rnd
from tests.support.published_gates import save_published

FLUX = {"num_layers": 19, "num_single_layers": 38, "num_attention_heads": 24, "attention_head_dim": 128}
TINY = {"num_layers": 1, "num_single_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8}


def variant(form: GateForm) -> FusionVariant:
    return replace(FUSION, gate=form, init_output_scale=1.0, global_rank=0)


def updates(x: Tensor, downs: list[Tensor], ups: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    return ((F.linear(F.linear(x, a), b), torch.tensor(1.0)) for a, b in zip(downs, ups, strict=True))


def gate_with(form: GateForm, values: dict[str, Tensor]) -> Gate:
    """Return a gate with these parameters, of which the form may use a part."""
    gate = Gate(len(values["bias"]), variant(form))
    gate.load_state_dict({name: values[name] for name in gate.state_dict()})
    return gate


@cache
def read_reference(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def reference_cases(pattern: str) -> list[pytest.ParameterSet]:
    """Return path, key and the pattern's groups for every matching key of every file."""
    return [
        pytest.param(path, key, match.groups(), id=f"{path.stem}-{key}")
        for path in cases("fusion_*.safetensors")
        for key in sorted(read_reference(path))
        if (match := re.fullmatch(pattern, key))
    ]


def run(path: Path, form: GateForm, count: int, inputs: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return output and gate values of the file's gate for `count` LoRAs, computed in one precision."""
    tensors = {name: tensor.to(dtype) for name, tensor in read_reference(path).items()}
    parameters = {name[2:]: tensor for name, tensor in tensors.items() if name.startswith("g.")}
    gate = gate_with(form, parameters).to(dtype)
    x, bias = tensors[inputs], tensors.get("b")
    base = F.linear(x, tensors["W"], bias)
    downs, ups = ([tensors[f"{letter}{i}"] for i in range(count)] for letter in "AB")
    gate_values = torch.stack(list(gate.gate_values(base, updates(x, downs, ups))))
    return gate(base, updates(x, downs, ups)), gate_values


@pytest.mark.parametrize(("path", "key", "of"), reference_cases(r"(\w+)\.k(\d+)\.(\w+)\.out"))
def test_equals_the_released_gate(path: Path, key: str, of: tuple[str, str, str]) -> None:
    out, _ = run(path, of[0], int(of[1]), of[2], torch.float32)
    torch.testing.assert_close(out, read_reference(path)[key], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("path", "key", "of"), reference_cases(r"k(\d+)\.(\w+)\.gate"))
def test_gate_values_equal_the_released_gate(path: Path, key: str, of: tuple[str, str]) -> None:
    _, gate_values = run(path, "full", int(of[0]), of[1], torch.float32)
    torch.testing.assert_close(gate_values, read_reference(path)[key], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("path", "key", "of"), reference_cases(r"(\w+)\.k(\d+)\.(\w+)\.out_bf16"))
def test_equals_the_released_gate_in_bfloat16(path: Path, key: str, of: tuple[str, str, str]) -> None:
    out, _ = run(path, of[0], int(of[1]), of[2], torch.bfloat16)
    cosine = F.cosine_similarity(out.float().flatten(), read_reference(path)[key].flatten(), dim=0)
    assert cosine >= 0.9999


@pytest.mark.parametrize(
    ("form", "count", "first", "norm", "mean_gate"),
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
    form: GateForm, count: int, first: list[float], norm: float, mean_gate: float
) -> None:
    values = {f"weight_{term}": rnd(f"g/weight_{term}", (20,)) for term in ("base", "lora", "cross")}
    values |= {"bias": rnd("g/bias", (20,)), "weight_out": rnd("g/weight_out", (20,), 0.2, 1.0)}
    for name in ("norm_base", "norm_lora"):
        values[f"{name}.weight"] = rnd(f"g/{name}.weight", (20,), 0.1, 1.0)
        values[f"{name}.bias"] = rnd(f"g/{name}.bias", (20,), 0.1)
    gate = gate_with(form, values).double()
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
    mean = torch.stack(list(gate.gate_values(base, updates(x, downs, ups)))).mean()
    assert mean.item() == pytest.approx(mean_gate, abs=2e-5)


@pytest.mark.parametrize(
    ("form", "tensors", "recognized"),
    [
        ("full", 2736, "30143afb2dea73d1ac580e0787628f8c"),  # LoRAFusion-preview-FLUX.1-dev
        ("no_base", 2432, "3c0afd28d9f15e5db619da93693118c1"),
        ("no_cross", 2128, "df00d45a74f276467c9a9f5820976f6f"),
    ],
)
def test_gates_on_fused_slots_have_the_published_layout(
    form: GateForm, tensors: int, recognized: str
) -> None:
    with torch.device("meta"):
        gates = fusion.build(FLUX, variant(form))
    shapes = {name: "_".join(map(str, value.shape)) for name, value in gates.state_dict().items()}
    parts = sorted([*shapes, *(f"{name}:{shape}" for name, shape in shapes.items())])
    assert len(shapes) == tensors
    assert hashlib.md5(",".join(parts).encode()).hexdigest() == recognized


@pytest.mark.parametrize(
    ("form", "global_rank"), [("full", 4), ("no_base", 2), ("no_cross", 2), ("no_lora", 2)]
)
def test_published_gates_load_and_save(form: GateForm, global_rank: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    gates = fusion.build(TINY, variant(form))
    save_published(gates, tmp_path / "gates.safetensors")
    tensors = load_file(tmp_path / "gates.safetensors")
    assert find_form(tensors) == form
    loaded = load_released(tmp_path / "gates.safetensors", TINY)
    assert loaded.variant == replace(FUSION, gate=form, global_rank=global_rank)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in loaded.state_dict().items())
    fusion.save(loaded, slots(TINY), tmp_path)
    stored = fusion.load(slots(TINY), tmp_path)
    assert stored.fused and fusion.hash_weights(stored) == fusion.hash_weights(loaded)


def test_published_gates_in_bfloat16_are_read_as_float32(tmp_path: Path) -> None:
    gates = fusion.build(TINY, variant("full")).to(torch.bfloat16)
    save_published(gates, tmp_path / "gates.safetensors")
    loaded = load_released(tmp_path / "gates.safetensors", TINY)
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}


def test_files_that_hold_no_published_gates_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "gates.safetensors"
    with pytest.raises(MissingArtifact, match="download"):
        load_released(path, TINY)
    save_file({"model_dict.blocks___0___attn___a_to_qkv.weight_base": torch.zeros(3)}, path)
    with pytest.raises(MismatchError, match="not released gates"):
        load_released(path, TINY)
    save_file({"model_dict.blocks___0___attn___a_to_qkv.weight_lora": torch.zeros(3)}, path)
    with pytest.raises(MismatchError, match="not gates of the form 'no_cross'"):
        load_released(path, TINY)
    save_published(fusion.build(TINY, variant("full")), path)
    with pytest.raises(MismatchError, match="base model that they were trained for"):
        load_released(path, TINY | {"num_single_layers": 1})
    with pytest.raises(MismatchError, match="base model that they were trained for"):
        load_released(path, TINY | {"attention_head_dim": 4})
