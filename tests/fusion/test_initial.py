"""`fusion.init`: what cannot be gates to start from is named with the key, and with what to give."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store
from autolora.fusion.gate import Gates
from autolora.fusion.initial import initial_gates
from autolora.fusion.released_format import save_published
from autolora.lora.slots import slots
from autolora.presets import Preset
from autolora.presets.fusion import FUSION
from tests.support.gate_training import fusion_params
from tests.support.tiny_flux import CONFIG, random_lora, save_peft

PARAMS = fusion_params("released", gate="full")


def start_from(root: Path, init: str) -> Gates:
    return initial_gates(root, replace(PARAMS, init=init), CONFIG)


def test_a_wrong_path_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(
        MissingArtifact,
        match=r"^fusion\.init is gates\.st, .*does not exist: .*publish gates.* null for random",
    ):
        start_from(tmp_path, "gates.st")


@pytest.mark.parametrize("preset", ["best", "released"])
@pytest.mark.parametrize("init", ["data/fusion", "data/fusion/model.safetensors"])
def test_gates_of_the_project_must_be_exported_first(tmp_path: Path, init: str, preset: Preset) -> None:
    store.save(store.build(CONFIG, FUSION[preset]), slots(CONFIG), store.folder(tmp_path))
    with pytest.raises(MismatchError, match=rf"^fusion\.init is {init}, .*`autolora publish gates FOLDER`"):
        start_from(tmp_path, init)


def test_trained_gates_of_another_project_must_be_exported_first(tmp_path: Path) -> None:
    store.save(store.build(CONFIG, FUSION["best"]), slots(CONFIG), tmp_path / "other")
    with pytest.raises(MismatchError, match=r"other holds the trained gates of a project"):
        start_from(tmp_path, "other/model.safetensors")


def test_imported_gates_are_published_ones(tmp_path: Path) -> None:
    """`autolora import gates --output DIR` writes them with a config."""
    store.save(store.build(CONFIG, PARAMS.variant), slots(CONFIG), tmp_path / "imported")
    assert start_from(tmp_path, "imported/model.safetensors").variant == PARAMS.variant


def test_a_lora_is_not_published_gates(tmp_path: Path) -> None:
    save_peft(random_lora(0), tmp_path / "lora.safetensors")
    with pytest.raises(
        MismatchError,
        match=r"^fusion\.init is lora\.safetensors, .*not published gates: the file has none of the terms of a gate, "
        r"expected base and cross and lora, or .*: give a file of gates that their authors have published",
    ) as caught:
        start_from(tmp_path, "lora.safetensors")
    assert "[" not in str(caught.value)


def test_an_incomplete_published_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gates.safetensors"
    save_published(store.build(CONFIG, PARAMS.variant), path)
    tensors = load_file(path)
    first = next(name for name in tensors if name.endswith("weight_lora"))
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, path)
    with pytest.raises(MismatchError, match=rf"gates\.safetensors: .* 1 missing \({first}\): give a file"):
        start_from(tmp_path, "gates.safetensors")
