"""Reading whole files: layouts agree, alphas count once, every key is accounted for, refusals have codes."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.factors import Factors, Lora, delta
from autolora.lora.read import Reading, read
from autolora.lora.scales import METADATA_KEY
from autolora.slots import slots
from tests.lora.writing import BOUNDS, CONFIG, SLOTS, draw_lora, kohya, peft, write

Tensors = dict[str, Tensor]
QKV = "lora_unet_double_blocks_0_img_attn_qkv"
TO_Q = "transformer_blocks.0.attn.to_q"


def read_tensors(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Reading:
    return read(write(folder / "lora.safetensors", tensors, metadata), SLOTS, BOUNDS)


def refusal_of(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> RefusedFile:
    with pytest.raises(RefusedFile) as caught:
        read_tensors(folder, tensors, metadata)
    return caught.value


def assert_same(found: Lora, wanted: Lora) -> None:
    assert set(found) == set(wanted)
    for name in wanted:
        assert torch.allclose(delta(found[name]), delta(wanted[name]), atol=1e-5), name


LAYOUTS: dict[str, Callable[[Lora], Tensors]] = {
    "kohya": kohya,
    "onetrainer": lambda lora: peft(lora, "lora_transformer_", ("lora_down", "lora_up"), "_"),
    "peft": peft,
    "peft-down": lambda lora: peft(lora, names=("lora_down", "lora_up")),
    "peft-bare": lambda lora: peft(lora, ""),
    "peft-model": lambda lora: peft(lora, "base_model.model."),
    "old-diffusers": lambda lora: peft(lora, names=("lora.down", "lora.up")),
    "comfy": lambda lora: dotted(kohya(lora)),
    "bfl-peft": lambda lora: dotted(kohya(lora), ("lora_A", "lora_B")),
}


def dotted(tensors: Tensors, names: tuple[str, str] = ("lora_down", "lora_up")) -> Tensors:
    """Rename kohya's keys to Black Forest Labs' own."""
    found = {}
    for key, tensor in tensors.items():
        match = re.fullmatch(r"lora_unet_(double|single)_blocks_(\d+)_(\w+)\.(.+)", key)
        assert match is not None
        module = re.sub(r"(attn|mlp|mod|modulation)_", r"\1.", match[3])
        role = match[4].replace("lora_down", names[0]).replace("lora_up", names[1])
        found[f"diffusion_model.{match[1]}_blocks.{match[2]}.{module}.{role}"] = tensor
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_updates(tmp_path: Path, layout: str) -> None:
    lora = draw_lora()
    tensors = LAYOUTS[layout](lora)
    reading = read_tensors(tmp_path, tensors)
    assert reading.layout == layout
    assert reading.keys_used == reading.keys_seen == len(tensors)
    assert reading.set_aside == ()
    assert_same(reading.lora, lora)


def test_block_diagonal_split_also_cuts_the_rank(tmp_path: Path) -> None:
    lora = draw_lora(ranks=(2,))
    reading = read_tensors(tmp_path, kohya(lora))
    assert {factors.rank for factors in reading.lora.values()} == {2}


def test_shared_down_is_split_by_rows(tmp_path: Path) -> None:
    down, up = torch.randn(2, 16), torch.randn(112, 2)
    key = "lora_unet_single_blocks_0_linear1"
    reading = read_tensors(tmp_path, {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up})
    names = [
        f"single_transformer_blocks.0.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
    ]
    assert torch.allclose(torch.cat([delta(reading.lora[name]) for name in names]), up @ down, atol=1e-6)


def test_xlabs_single_block_has_no_mlp_rows(tmp_path: Path) -> None:
    lora = {
        "single_blocks.0.processor.qkv_lora.down.weight": torch.randn(2, 16),
        "single_blocks.0.processor.qkv_lora.up.weight": torch.randn(48, 2),
    }
    reading = read_tensors(tmp_path, lora)
    assert sorted(name.rpartition(".")[2] for name in reading.lora) == ["to_k", "to_q", "to_v"]


@pytest.mark.parametrize(
    ("alpha", "scale"),
    [
        (None, 1.0),
        (torch.tensor(1.0), 0.5),
        (torch.tensor([4.0]), 2.0),
        (torch.tensor(4, dtype=torch.int64), 2.0),
        (torch.tensor(1.0, dtype=torch.bfloat16), 0.5),
        (torch.tensor(-2.0), -1.0),
    ],
)
def test_alpha_counts_once(tmp_path: Path, alpha: Tensor | None, scale: float) -> None:
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    tensors = {f"transformer.{TO_Q}.lora_A.weight": down, f"transformer.{TO_Q}.lora_B.weight": up}
    tensors |= {} if alpha is None else {f"transformer.{TO_Q}.alpha": alpha}
    factors = read_tensors(tmp_path, tensors).lora[TO_Q]
    assert factors.scale == scale
    assert torch.equal(factors.down, down) and torch.equal(factors.up, up)


def test_alpha_of_the_header_counts_where_no_tensor_says_it(tmp_path: Path) -> None:
    tensors = {
        key: tensor for key, tensor in peft(draw_lora(ranks=(2,))).items() if not key.endswith("to_q.alpha")
    }
    metadata = {METADATA_KEY: json.dumps({"transformer.lora_alpha": 16})}
    lora = read_tensors(tmp_path, tensors, metadata).lora
    assert {factors.scale for name, factors in lora.items() if name.endswith("to_q")} == {8.0}
    assert lora["transformer_blocks.0.attn.to_v"].scale == draw_lora()["transformer_blocks.0.attn.to_v"].scale


def test_zero_updates_are_absent(tmp_path: Path) -> None:
    lora = draw_lora()
    silent = lora[TO_Q]
    tensors = kohya({name: factors for name, factors in lora.items() if name != TO_Q})
    reading = read_tensors(tmp_path, tensors)
    assert TO_Q not in reading.lora and len(reading.lora) == len(SLOTS) - 1
    reading = read_tensors(tmp_path, peft(lora | {TO_Q: Factors(silent.down, 0 * silent.up, 1.0)}))
    assert TO_Q not in reading.lora and reading.keys_used == 3 * len(SLOTS)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_tensors_stay_in_their_dtype(tmp_path: Path, dtype: str) -> None:
    kind = getattr(torch, dtype)
    lora = {name: Factors(f.down.to(kind), f.up.to(kind), f.scale) for name, f in draw_lora().items()}
    reading = read_tensors(tmp_path, peft(lora))
    assert reading.dtype == dtype
    assert all(factors.down.dtype == kind for factors in reading.lora.values())
    assert_same(reading.lora, lora)


def test_known_families_are_set_aside_and_named(tmp_path: Path) -> None:
    extra = {
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.ones(1, 4),
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": torch.ones(4, 1),
        "lora_unet_img_in.lora_down.weight": torch.ones(1, 4),
        "lora_unet_final_layer_linear.alpha": torch.tensor(1.0),
    }
    tensors = kohya(draw_lora())
    reading = read_tensors(tmp_path, tensors | extra)
    assert reading.set_aside == ("embedder", "final-layer", "text-encoder")
    assert reading.keys_seen == reading.keys_used + 4 == len(tensors) + 4


def test_unknown_keys_within_the_bound_are_passed_over(tmp_path: Path) -> None:
    tensors = kohya(draw_lora()) | {"mystery": torch.ones(1)}
    path = write(tmp_path / "lora.safetensors", tensors)
    reading = read(path, SLOTS, replace(BOUNDS, min_known_keys=0.9))
    assert reading.keys_seen == reading.keys_used + 1
    error = refusal_of(tmp_path, tensors | {f"mystery.{index}": torch.ones(1) for index in range(6)})
    assert error.code == "unknown-keys"
    assert "7 of" in str(error) and "mystery, mystery.0" in str(error) and "mystery.4" not in str(error)


def test_wrong_base_by_width_depth_and_names(tmp_path: Path) -> None:
    wide = slots(CONFIG | {"num_attention_heads": 3})
    file = write(tmp_path / "lora.safetensors", kohya(draw_lora()))
    shallow = [slot for slot in SLOTS if not slot.name.startswith("transformer_blocks.1.")]
    for base in (wide, shallow):
        with pytest.raises(RefusedFile) as caught:
            read(file, base, BOUNDS)
        assert caught.value.code == "wrong-base"
    for key in (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "unet.mid_block.attentions.0.proj_in.lora_A.weight",
        "transformer.transformer_blocks.0.attn2.to_q.lora_A.weight",
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight",
    ):
        assert refusal_of(tmp_path, {key: torch.ones(1, 4)}).code == "wrong-base"


def test_full_model_is_no_lora(tmp_path: Path) -> None:
    full = {"double_blocks.0.img_attn.qkv.weight": torch.ones(4, 4), "img_in.weight": torch.ones(4, 4)}
    norm = {"double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(4)}
    eight_bit = {"scaled_fp8": torch.ones(1), "double_blocks.0.img_attn.qkv.scale_weight": torch.ones(1)}
    for tensors in (full, full | norm, full | eight_bit):
        assert refusal_of(tmp_path, tensors).code == "not-a-lora"


def test_control_loras_of_black_forest_labs_have_their_own_code(tmp_path: Path) -> None:
    """The keys of FLUX.1-Depth-dev-lora: bare names, norms and biases, and a wider image embedder."""
    tensors = {"img_in.lora_A.weight": torch.ones(2, 128), "img_in.lora_B.weight": torch.ones(16, 2)}
    for role, shape in {"lora_A.weight": (2, 16), "lora_B.weight": (48, 2), "lora_B.bias": (48,)}.items():
        tensors[f"double_blocks.0.img_attn.qkv.{role}"] = torch.ones(shape)
    tensors["double_blocks.0.img_attn.norm.query_norm.scale"] = torch.ones(8)
    assert refusal_of(tmp_path, tensors).code == "control"


@pytest.mark.parametrize(("said", "code"), [("chroma/lora", "wrong-base"), ("flux-1-dev/lora", None)])
def test_a_twin_of_flux_is_told_by_its_header(tmp_path: Path, said: str, code: str | None) -> None:
    metadata = {"modelspec.architecture": said}
    if code is None:
        assert read_tensors(tmp_path, kohya(draw_lora()), metadata).layout == "kohya"
    else:
        assert refusal_of(tmp_path, kohya(draw_lora()), metadata).code == code


def test_a_width_that_gives_a_model_away_is_named(tmp_path: Path) -> None:
    tensors = {f"transformer.{TO_Q}.lora_A.weight": torch.ones(2, 1536)}
    tensors |= {f"transformer.{TO_Q}.lora_B.weight": torch.ones(1536, 2)}
    error = refusal_of(tmp_path, tensors)
    assert error.code == "wrong-base" and "Stable Diffusion 3 Medium" in str(error)


@pytest.mark.parametrize(
    ("scale", "warnings"),
    [(4.0, ()), (4.5, ("scale-large",)), (0.04, ("scale-small",)), (-5.0, ("scale-large",))],
)
def test_odd_scales_are_warned_of(tmp_path: Path, scale: float, warnings: tuple[str, ...]) -> None:
    lora = draw_lora()
    odd = lora | {TO_Q: Factors(lora[TO_Q].down, lora[TO_Q].up, scale)}
    assert read_tensors(tmp_path, peft(odd)).warnings == warnings


@pytest.mark.parametrize(
    ("suffix", "code"),
    [
        ("dora_scale", "dora"),
        ("lora_magnitude_vector", "dora"),
        ("lokr_t2", "tucker"),
        ("hada_t1", "tucker"),
        ("lora_mid.weight", "tucker"),
        ("oft_blocks", "oft"),
        ("oft_R.weight", "oft"),
        ("diff_b", "weight-diff"),
        ("set_weight", "weight-diff"),
        ("w_norm", "weight-diff"),
        ("a1.weight", "other-adapter"),
        ("on_input", "other-adapter"),
        ("lambda_layer", "other-adapter"),
        ("lora_B.bias", "lora-bias"),
    ],
)
def test_other_parametrizations_have_their_codes(tmp_path: Path, suffix: str, code: str) -> None:
    other = {f"{QKV}.{suffix}": torch.ones(4, 4)}
    assert refusal_of(tmp_path, kohya(draw_lora()) | other).code == code
    assert refusal_of(tmp_path, other | {f"{QKV}.alpha": torch.tensor(1.0)}).code == code


def test_dora_of_a_text_encoder_does_not_matter(tmp_path: Path) -> None:
    tensors = kohya(draw_lora()) | {"lora_te1_text_model_encoder_layers_0_mlp_fc1.dora_scale": torch.ones(4)}
    assert read_tensors(tmp_path, tensors).set_aside == ("text-encoder",)


def damaged(**changes: Tensor | None) -> Tensors:
    """Return a kohya file with keys of one module replaced or, by None, removed."""
    tensors = kohya(draw_lora(ranks=(2,)))
    for role, tensor in changes.items():
        key = f"{QKV}.{role}" if role == "alpha" else f"{QKV}.lora_{role}.weight"
        tensors.pop(key)
        if tensor is not None:
            tensors[key] = tensor
    return tensors


@pytest.mark.parametrize(
    ("code", "tensors"),
    [
        ("orphan", damaged(up=None)),
        ("orphan", damaged(down=None)),
        ("orphan", damaged(up=None, down=None)),
        ("shape-mismatch", damaged(up=torch.ones(48, 5))),
        ("shape-mismatch", damaged(up=torch.ones(50, 6))),
        ("shape-mismatch", damaged(up=torch.ones(48, 6, 1, 1))),
        ("rank-out-of-bounds", damaged(down=torch.ones(17, 16), up=torch.ones(48, 17))),
        ("rank-out-of-bounds", damaged(down=torch.ones(49, 16), up=torch.ones(48, 49))),
        ("rank-out-of-bounds", damaged(down=torch.ones(0, 16), up=torch.ones(48, 0))),
        ("bad-dtype", damaged(up=torch.ones(48, 6, dtype=torch.int8))),
        ("bad-alpha", damaged(alpha=torch.ones(2))),
        ("bad-alpha", damaged(alpha=torch.tensor(True))),
        ("nan-or-inf", damaged(alpha=torch.tensor(float("nan")))),
        ("nan-or-inf", damaged(up=torch.full((48, 6), float("inf")))),
        ("nan-or-inf", damaged(down=torch.full((6, 16), float("nan")))),
        ("nan-or-inf", damaged(down=torch.full((6, 16), 1e30))),
        ("zero-effect", {key: 0 * tensor for key, tensor in damaged().items()}),
        ("zero-effect", damaged() | {key: torch.tensor(0.0) for key in damaged() if key.endswith("alpha")}),
        ("slot-twice", damaged() | peft(draw_lora())),
        ("text-encoder-only", {f"lora_te1_x.lora_{role}.weight": torch.ones(2, 2) for role in ("down", "up")}),
        ("no-slots", {f"lora_unet_txt_in.lora_{role}.weight": torch.ones(2, 2) for role in ("down", "up")}),
        ("control", damaged() | {"double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(8)}),
        ("control", damaged() | {"lora_unet_img_in.lora_down.weight": torch.ones(2, 128)}),
        ("wrong-base", damaged() | {"lora_unet_img_in.lora_down.weight": torch.ones(2, 384)}),
        ("quantized", damaged() | {f"{QKV}.lora_down.scale_weight": torch.ones(1)}),
        ("quantized", {"transformer_blocks.0.qkv_proj.lora_down": torch.ones(16, 2)}),
        ("slot-twice", damaged() | {f"{QKV}.hada_w1_a": torch.ones(2, 2)}),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_with_their_codes(tmp_path: Path, code: str, tensors: Tensors) -> None:
    assert refusal_of(tmp_path, tensors).code == code


def test_reading_is_the_same_each_time(tmp_path: Path) -> None:
    path = write(tmp_path / "lora.safetensors", kohya(draw_lora()))
    first, second = read(path, SLOTS, BOUNDS), read(path, SLOTS, BOUNDS)
    assert list(first.lora) == list(second.lora)
    assert all(torch.equal(first.lora[name].up, second.lora[name].up) for name in first.lora)
