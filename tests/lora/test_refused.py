"""Files that are not a LoRA for this base model, or are damaged, are refused with their reason codes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from autolora.errors import RefusedFile
from autolora.lora.read import read
from autolora.slots import slots
from tests.lora.test_read import QKV, TO_Q, Tensors, read_tensors
from tests.lora.writing import BOUNDS, CONFIG, SLOTS, draw_lora, kohya, peft, write


def refusal_of(folder: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> RefusedFile:
    with pytest.raises(RefusedFile) as caught:
        read_tensors(folder, tensors, metadata)
    return caught.value


def test_too_many_unknown_keys_are_refused(tmp_path: Path) -> None:
    unknown = {name: torch.ones(1) for name in ("mystery", *(f"mystery.{index}" for index in range(6)))}
    error = refusal_of(tmp_path, kohya(draw_lora()) | unknown)
    assert error.code == "unknown-keys"
    assert "7 of" in str(error) and "mystery, mystery.0" in str(error) and "mystery.4" not in str(error)


def test_wrong_base_by_width_depth_and_names(tmp_path: Path) -> None:
    wide = slots(CONFIG | {"num_attention_heads": 3})
    path = write(tmp_path / "lora.safetensors", kohya(draw_lora()))
    shallow = [slot for slot in SLOTS if not slot.name.startswith("transformer_blocks.1.")]
    for base in (wide, shallow):
        with pytest.raises(RefusedFile) as caught:
            read(path, base, BOUNDS)
        assert caught.value.code == "wrong-base"
    for key in (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "unet.mid_block.attentions.0.proj_in.lora_A.weight",
        "transformer.transformer_blocks.0.attn2.to_q.lora_A.weight",
        "diffusion_model.blocks.0.self_attn.q.lora_A.weight",
    ):
        assert refusal_of(tmp_path, {key: torch.ones(1, 4)}).code == "wrong-base"


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
        ("duplicate-slot", damaged() | peft(draw_lora())),
        ("text-encoder-only", {f"lora_te1_x.lora_{role}.weight": torch.ones(2, 2) for role in ("down", "up")}),
        ("no-slots", {f"lora_unet_txt_in.lora_{role}.weight": torch.ones(2, 2) for role in ("down", "up")}),
        ("control", damaged() | {"double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(8)}),
        ("control", damaged() | {"lora_unet_img_in.lora_down.weight": torch.ones(2, 128)}),
        ("wrong-base", damaged() | {"lora_unet_img_in.lora_down.weight": torch.ones(2, 384)}),
        ("quantized", damaged() | {f"{QKV}.lora_down.scale_weight": torch.ones(1)}),
        ("quantized", {"transformer_blocks.0.qkv_proj.lora_down": torch.ones(16, 2)}),
        ("duplicate-slot", damaged() | {f"{QKV}.hada_w1_a": torch.ones(2, 2)}),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, code: str, tensors: Tensors) -> None:
    assert refusal_of(tmp_path, tensors).code == code
