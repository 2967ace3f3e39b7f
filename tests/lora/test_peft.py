"""LoRAs, LoHas and LoKrs that PEFT applied to a tiny FLUX and saved have the updates that PEFT computes, to 1e-5."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from autolora.lora.factors import delta
from autolora.lora.read import read
from autolora.lora.scales import METADATA_KEY
from autolora.lora.slots import slots
from tests.lora.writing import BOUNDS
from tests.support.tiny_flux import CONFIG

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")

TARGETS = ["to_q", "to_k", "to_v", "add_k_proj", "to_out.0", "net.2", "proj_mlp", "proj_out", "norm.linear"]
PATTERNS: dict[str, dict[str, dict[str, int]]] = {
    "plain names": {"alpha_pattern": {"to_q": 2, "ff.net.2": 16}, "rank_pattern": {"attn.to_v": 2}},
    "regular expressions": {
        "alpha_pattern": {
            r"transformer_blocks\.0\.attn\.to_(q|k)": 2,
            r"^single_transformer_blocks\.[1-9]\.proj_\w+": 16,
            r".*\.to_[qv]": 1,
        },
        "rank_pattern": {r".*blocks\.\d+\.attn\.(to_q|add_.*)": 2, r"(ff|ff_context)\.net\.2": 6},
    },
    "the first match": {"alpha_pattern": {r"attn\..*": 2, "to_q": 16, ".*": 1}, "rank_pattern": {}},
    "no match": {"alpha_pattern": {"o_q": 2, r"^attn\.to_q": 2, "to_": 2}, "rank_pattern": {"v": 2}},
}


LYCORIS: dict[str, dict[str, Any]] = {
    "LoHaConfig": {"r": 2},
    "LoKrConfig": {"r": 2},
    "LoKrConfig, two products": {"r": 2, "decompose_both": True, "decompose_factor": 8},
    "LoKrConfig, full matrices": {"r": 4, "decompose_factor": 16},
}
"""PEFT's class, and a variant -> arguments"""


def adapt(**fields: Any) -> Any:
    """Return a transformer with a random LoRA."""
    return add_adapter(peft.LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, **fields))


def add_adapter(config: Any) -> Any:
    """Return a transformer with a random adapter."""
    torch.manual_seed(0)
    transformer = diffusers.FluxTransformer2DModel(**CONFIG)
    transformer.add_adapter(config)
    for layer in transformer.modules():
        if hasattr(layer, "lora_B"):
            nn.init.normal_(layer.lora_B["default"].weight)
    return transformer


def assert_read(path: Path, updates: dict[str, Tensor]) -> None:
    """Check that the file has exactly these updates, apart from layers that are no slots."""
    known = slots(CONFIG)
    lora = read(path, known, replace(BOUNDS, max_rank=64)).lora
    assert set(lora) == {slot.name for slot in known} & set(updates)
    for name, factors in lora.items():
        error = (delta(factors) - updates[name]).abs().max()
        assert error <= 1e-5 * updates[name].abs().max(), name


def updates_of(transformer: Any) -> dict[str, Tensor]:
    """Return slot -> the update that PEFT computes, of a transformer with one adapter."""
    layers = {
        name: layer for name, layer in transformer.named_modules() if hasattr(layer, "get_delta_weight")
    }
    return {name: layer.get_delta_weight(*layer.active_adapters).detach() for name, layer in layers.items()}


@pytest.mark.parametrize("patterns", PATTERNS.values(), ids=list(PATTERNS))
@pytest.mark.parametrize("rank_stabilized", [False, True], ids=["alpha / rank", "rsLoRA"])
def test_patterns_are_applied_as_by_peft(
    tmp_path: Path, patterns: dict[str, dict[str, int]], rank_stabilized: bool
) -> None:
    transformer = adapt(**patterns, use_rslora=rank_stabilized)
    state = peft.get_peft_model_state_dict(transformer, adapter_name="default")
    config = json.dumps({"r": 4, "lora_alpha": 8, "use_rslora": rank_stabilized} | patterns)
    save_file(state, tmp_path / "lora.safetensors", {METADATA_KEY: config})
    assert_read(tmp_path / "lora.safetensors", updates_of(transformer))


@pytest.mark.parametrize("patterns", PATTERNS.values(), ids=list(PATTERNS))
def test_saved_patterns_are_applied_as_loaded_by_diffusers(
    tmp_path: Path, patterns: dict[str, dict[str, int]]
) -> None:
    """diffusers sorts the patterns when it saves them, so a different one may be the first to match."""
    adapt(**patterns).save_lora_adapter(tmp_path)
    transformer = diffusers.FluxTransformer2DModel(**CONFIG)
    transformer.load_lora_adapter(str(tmp_path), prefix=None, use_safetensors=True)
    assert_read(tmp_path / "pytorch_lora_weights.safetensors", updates_of(transformer))


@pytest.mark.parametrize(
    "rename",
    [
        lambda key: key,
        lambda key: f"base_model.model.{key}",
        lambda key: f"transformer.{key}",
        lambda key: key.replace(".default.", ".my-style."),
    ],
    ids=["bare", "PEFT model", "pipeline", "other adapter name"],
)
def test_state_of_an_adapted_model_is_read(tmp_path: Path, rename: Callable[[str], str]) -> None:
    transformer = adapt()
    state = {rename(key): tensor for key, tensor in transformer.state_dict().items() if ".lora_" in key}
    save_file(state, tmp_path / "lora.safetensors")
    scale_1 = {name: update / 2 for name, update in updates_of(transformer).items()}  # the state has no alpha
    assert_read(tmp_path / "lora.safetensors", scale_1)


@pytest.mark.parametrize("variant", LYCORIS)
def test_loha_and_lokr_have_the_scales_of_their_config(tmp_path: Path, variant: str) -> None:
    patterns = {"alpha_pattern": {"to_q": 5, "to_k": 3}, "rank_pattern": {"to_k": 3, "proj_out": 5}}
    config = getattr(peft, variant.partition(",")[0])
    fields = {"alpha": 1, "target_modules": TARGETS, "init_weights": False} | LYCORIS[variant] | patterns
    transformer = add_adapter(config(**fields))
    transformer.save_lora_adapter(tmp_path)
    assert_read(tmp_path / "pytorch_lora_weights.safetensors", updates_of(transformer))
