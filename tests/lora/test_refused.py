"""Files that are not a LoRA for this base model, or are damaged, are refused with their reason codes."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.read import read, read_and_sketch
from autolora.lora.scales import METADATA_KEY
from autolora.lora.sketch import SketchSpec
from autolora.lora.verdict import REASONS
from tests.lora.test_read import QKV, TO_Q, Tensors, read_tensors
from tests.lora.writing import BOUNDS, SLOTS, draw_lora, kohya, peft, write


def refusal_of(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> RefusedFile:
    with pytest.raises(RefusedFile) as caught:
        read_tensors(folder, tensors, metadata)
    return caught.value


def test_too_many_unknown_keys_are_refused(tmp_path: Path) -> None:
    unknown = {name: torch.ones(1) for name in ("mystery", *(f"mystery.{index}" for index in range(6)))}
    error = refusal_of(tmp_path, kohya(draw_lora()) | unknown)
    assert error.code == "unknown-keys"
    assert "7 of" in str(error) and "mystery, mystery.0" in str(error) and "mystery.4" not in str(error)


def test_full_model_is_refused(tmp_path: Path) -> None:
    full = {"double_blocks.0.img_attn.qkv.weight": torch.ones(4, 4), "img_in.weight": torch.ones(4, 4)}
    norm = {"double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(4)}
    eight_bit = {"scaled_fp8": torch.ones(1), "double_blocks.0.img_attn.qkv.scale_weight": torch.ones(1)}
    for tensors in (full, full | norm, full | eight_bit):
        assert refusal_of(tmp_path, tensors).code == "not-a-lora"


def test_control_loras_of_black_forest_labs_are_refused(tmp_path: Path) -> None:
    """The keys of FLUX.1-Depth-dev-lora: bare names, norms and biases, and a wider image embedder."""
    tensors = {"img_in.lora_A.weight": torch.ones(2, 128), "img_in.lora_B.weight": torch.ones(16, 2)}
    for role, shape in {"lora_A.weight": (2, 16), "lora_B.weight": (48, 2), "lora_B.bias": (48,)}.items():
        tensors[f"double_blocks.0.img_attn.qkv.{role}"] = torch.ones(shape)
    tensors["double_blocks.0.img_attn.norm.query_norm.scale"] = torch.ones(8)
    assert refusal_of(tmp_path, tensors).code == "control"


@pytest.mark.parametrize(("architecture", "code"), [("chroma/lora", "wrong-base"), ("flux-1-dev/lora", None)])
def test_base_model_similar_to_flux_is_found_in_the_header(
    tmp_path: Path, architecture: str, code: str | None
) -> None:
    metadata = {"modelspec.architecture": architecture}
    if code is None:
        assert read_tensors(tmp_path, kohya(draw_lora()), metadata).layout == "kohya"
    else:
        assert refusal_of(tmp_path, kohya(draw_lora()), metadata).code == code


def test_message_names_the_base_model_with_the_same_width(tmp_path: Path) -> None:
    tensors = {f"transformer.{TO_Q}.lora_A.weight": torch.ones(2, 1536)}
    tensors |= {f"transformer.{TO_Q}.lora_B.weight": torch.ones(1536, 2)}
    error = refusal_of(tmp_path, tensors)
    assert error.code == "wrong-base" and "Stable Diffusion 3 Medium" in str(error)


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
def test_other_parametrizations_are_refused(tmp_path: Path, suffix: str, code: str) -> None:
    other = {f"{QKV}.{suffix}": torch.ones(4, 4)}
    assert refusal_of(tmp_path, kohya(draw_lora()) | other).code == code
    assert refusal_of(tmp_path, other | {f"{QKV}.alpha": torch.tensor(1.0)}).code == code


NORM = "lora_unet_double_blocks_0_img_attn_norm_query_norm"


@pytest.mark.parametrize(
    ("added", "code"),
    [
        ({f"{QKV}.diff_b": torch.tensor([0.0, 1e-6])}, "weight-diff"),
        ({f"{QKV}.diff_b": torch.tensor([0.0, float("nan")])}, "weight-diff"),
        ({f"{QKV}.diff_b": torch.zeros(2), f"{QKV}.diff": torch.ones(2, 2)}, "weight-diff"),
        ({f"{QKV}.diff_b": torch.zeros(2, dtype=torch.int8)}, "weight-diff"),
        ({f"{QKV}.set_weight": torch.zeros(2)}, "weight-diff"),
        ({f"{NORM}.set_weight": torch.ones(2)}, "weight-diff"),
        ({"lora_unet_double_blocks_0_img_mod_lin.diff": torch.ones(2)}, "weight-diff"),
        ({f"{QKV}.lora_up.bias": torch.tensor([0.0, 1.0])}, "lora-bias"),
        ({f"{QKV}.lora_B.my-style.bias": torch.tensor([0.0, 1.0])}, "lora-bias"),
        ({f"{QKV}.dora_scale": torch.zeros(2)}, "dora"),
        ({"mystery.diff": torch.zeros(2)}, "zero-difference"),
        ({f"{QKV}.diff_b": torch.tensor([0.0, -0.0])}, "zero-difference"),
        ({f"{QKV}.diff_b": torch.zeros(2, dtype=torch.float8_e4m3fn)}, "zero-difference"),
        ({f"{QKV}.diff": torch.zeros(0)}, "zero-difference"),
        ({f"{QKV}.lora_up.bias": torch.zeros(2, dtype=torch.bfloat16)}, "zero-difference"),
        ({f"{NORM}.w_norm": torch.ones(2)}, "norm"),
        ({f"{NORM}.diff": torch.ones(2)}, "norm"),
        ({"transformer.single_transformer_blocks.0.attn.norm_k.diff": torch.ones(2)}, "norm"),
    ],
)
def test_added_tensors_are_ignored_only_without_effect(tmp_path: Path, added: Tensors, code: str) -> None:
    tensors = kohya(draw_lora()) | added
    if code in REASONS:
        assert refusal_of(tmp_path, tensors).code == code
        return
    reading = read_tensors(tmp_path, tensors)
    assert (reading.ignored_keys, reading.warnings) == ((code,), ("ignored-keys",))
    assert reading.keys_used == reading.keys_seen - 1


def test_tensors_without_effect_are_not_a_lora(tmp_path: Path) -> None:
    without_effect = {f"{QKV}.diff_b": torch.zeros(2), f"{QKV}.alpha": torch.tensor(1.0)}
    assert refusal_of(tmp_path, without_effect).code == "not-a-lora"
    text = {f"lora_te1_x.lora_{role}.weight": torch.ones(2, 2) for role in ("down", "up")}
    assert refusal_of(tmp_path, without_effect | text).code == "text-encoder-only"


def test_several_adapters_in_a_file_are_refused(tmp_path: Path) -> None:
    first, second = (
        {key.replace(".weight", f".{name}.weight"): tensor for key, tensor in peft(draw_lora()).items()}
        for name in ("style", "subject")
    )
    assert read_tensors(tmp_path, first).layout == "peft"
    error = refusal_of(tmp_path, first | second)
    assert error.code == "several-adapters" and "style, subject" in str(error)
    disjoint = {key: tensor for key, tensor in first.items() if ".0." in key}
    disjoint |= {key: tensor for key, tensor in second.items() if ".0." not in key}
    assert refusal_of(tmp_path, disjoint).code == "several-adapters"


def test_message_names_the_kernel_of_a_convolution(tmp_path: Path) -> None:
    assert "kernel of 3 × 3" in str(refusal_of(tmp_path, damaged(down=torch.ones(6, 16, 3, 3))))


def damaged(**changes: Tensor | None) -> Tensors:
    """Return the tensors of a kohya file with those of one module replaced, or removed if the new tensor is None."""
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
        ("shape-mismatch", damaged(up=torch.ones(48, 5))),
        ("shape-mismatch", damaged(up=torch.ones(50, 6))),
        ("shape-mismatch", damaged(down=torch.ones(6, 16, 1, 1), up=torch.ones(48, 5, 1, 1))),
        ("shape-mismatch", damaged(down=torch.ones(6, 16, 3, 3))),
        ("shape-mismatch", damaged(up=torch.ones(48, 6, 1, 2))),
        ("shape-mismatch", damaged(up=torch.ones(48, 6, 1))),
        ("rank-out-of-bounds", damaged(down=torch.ones(17, 16), up=torch.ones(48, 17))),
        ("rank-out-of-bounds", damaged(down=torch.ones(49, 16), up=torch.ones(48, 49))),
        ("duplicate-slot", damaged() | peft(draw_lora())),
        ("text-encoder-only", {f"lora_te1_x.lora_{role}.weight": torch.ones(2, 2) for role in ("down", "up")}),
        ("no-slots", {f"lora_unet_txt_in.lora_{role}.weight": torch.ones(2, 2) for role in ("down", "up")}),
        ("control", damaged() | {"double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(8)}),
        ("control", damaged() | {"lora_unet_img_in.lora_down.weight": torch.ones(2, 128)}),
        ("wrong-base", damaged() | {"lora_unet_img_in.lora_down.weight": torch.ones(2, 384)}),
        ("quantized", damaged() | {f"{QKV}.lora_down.scale_weight": torch.ones(1)}),
        ("quantized", damaged() | {f"{QKV}.lora_down.comfy_quant": torch.ones(4, dtype=torch.uint8)}),
        ("quantized", damaged() | {f"{QKV}.comfy_quant": torch.ones(4, dtype=torch.uint8)}),
        ("quantized", {"transformer_blocks.0.qkv_proj.lora_down": torch.ones(16, 2)}),
        ("duplicate-slot", damaged() | {f"{QKV}.hada_w1_a": torch.ones(2, 2)}),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, code: str, tensors: Tensors) -> None:
    assert refusal_of(tmp_path, tensors).code == code


PEFT_KINDS = (
    "adamss_A", "beft_bias", "bone_block", "c3a_kernel", "deft_P", "delora_A", "fourierft_spectrum",
    "frod_lambda_l", "glora_A", "gralora_A", "hira_A", "lily_A", "ln_tuning_layers", "lora_E", "miss_block",
    "osf_svd_params", "peanut_A", "poly_lora_A", "psoft_R", "pvera_lambda_b", "randlora_lambda", "road_theta",
    "shadow_down", "shira_weight", "supertuning_values", "tinylora_v", "trainable_tokens_delta",
    "unilora_theta_d", "vblora_logits_A", "vera_lambda_d", "waveft_spectrum",
)  # fmt: skip


@pytest.mark.parametrize("kind", PEFT_KINDS)
@pytest.mark.parametrize("end", ["", ".default", ".weight"])
def test_kinds_of_peft_are_named(tmp_path: Path, kind: str, end: str) -> None:
    tensors = {f"base_model.model.{TO_Q}.{kind}{end}": torch.ones(2, 2)}
    assert refusal_of(tmp_path, tensors).code == "other-adapter"


def test_reasons_are_true(tmp_path: Path) -> None:
    dora = kohya(draw_lora()) | {f"{QKV}.magnitude": torch.ones(48)}
    assert refusal_of(tmp_path, dora).code == "dora"
    mlx = {f"transformer.{TO_Q}.lora_{role}": torch.ones(16, 16) for role in "ab"}
    assert refusal_of(tmp_path, mlx).code == "unknown-keys"
    nunchaku = {"transformer_blocks.0.qkv_proj.lora_up": torch.ones(16, 2)}
    assert refusal_of(tmp_path, nunchaku).code == "quantized"


def test_final_separator_is_read(tmp_path: Path) -> None:
    tensors = {key.replace(".", "_.", 1): tensor for key, tensor in kohya(draw_lora()).items()}
    assert read_tensors(tmp_path, tensors).layout == "kohya"


@pytest.mark.parametrize(
    ("dtype", "bits"), [("F4", 4), ("F6_E2M3", 6), ("F6_E3M2", 6), ("F8_E4M3FNUZ", 8), ("F8_E5M2FNUZ", 8)]
)
def test_types_that_are_not_read_are_no_damage(tmp_path: Path, dtype: str, bits: int) -> None:
    content, entries, end = b"", {}, 0
    for key, tensor in kohya(draw_lora()).items():
        size = tensor.numel() * (32 if key.endswith("alpha") else bits) // 8
        kind = "F32" if key.endswith("alpha") else dtype
        entries[key] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        content, end = content + b"\1" * size, end + size
    header = json.dumps({"__metadata__": None, **entries}).encode()
    path = tmp_path / "lora.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + content)
    with pytest.raises(RefusedFile, match=dtype) as caught:
        read(path, SLOTS, BOUNDS)
    assert caught.value.code == "bad-dtype"


def test_metadata_may_be_null(tmp_path: Path) -> None:
    path = write(tmp_path / "lora.safetensors", kohya(draw_lora()))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.dumps({**json.loads(content[8 : 8 + length]), "__metadata__": None}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length :])
    assert read(path, SLOTS, BOUNDS).metadata == {}


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize(
    ("value", "warns"),
    [("pissa_niter_4", True), ("olora", True), ("corda", True), (True, False), ("gaussian", False)],
)
def test_initializations_that_change_the_base_are_warned_of(
    tmp_path: Path, prefix: str, value: object, warns: bool
) -> None:
    metadata = {METADATA_KEY: json.dumps({f"{prefix}init_lora_weights": value})}
    assert ("initialized" in read_tensors(tmp_path, peft(draw_lora()), metadata).warnings) == warns


def test_updates_without_effect_are_refused(tmp_path: Path) -> None:
    tensors = {key: tensor * (1e-25 if "up" in key else 1) for key, tensor in kohya(draw_lora()).items()}
    with pytest.raises(RefusedFile, match="below 1e-12") as caught:
        read_and_sketch(write(tmp_path / "lora.safetensors", tensors), SLOTS, BOUNDS, SketchSpec(8))
    assert caught.value.code == "zero-effect"
