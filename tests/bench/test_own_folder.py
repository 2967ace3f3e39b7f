"""The files of the measurement: held out, described in known shapes, and readable."""

import json
from pathlib import Path

import pytest

from autolora.dataset.store import training_lock
from autolora.hubs.folder.scan import scan_folder
from autolora.lora.read import read
from autolora.lora.slots import slots
from autolora.params import load
from autolora.storage.hashes import hash_file
from bench import own_folder


def test_the_files_are_of_different_themes_and_not_trained_on() -> None:
    files = own_folder.held_out_files()
    trained = {row.sha256 for row in training_lock(own_folder.ROOT).in_split("train")}
    assert len({file.judgment.theme for file in files}) == len(files) == own_folder.NUM_FILES
    assert not {hash_file(file.path) for file in files} & trained


@pytest.mark.parametrize("is_described", [False, True])
def test_described_files_have_images_and_a_sidecar_of_each_program(
    tmp_path: Path, is_described: bool
) -> None:
    for number, file in enumerate(own_folder.held_out_files()[:3]):
        own_folder.write_file(tmp_path, number, file, is_described=is_described)
    files, problems, unreadable = scan_folder(tmp_path, 5)
    assert (len(files), problems, unreadable) == (3, (), frozenset())
    assert all(bool(file.images) == is_described for file in files)
    assert sum(file.sidecar.base_model == "Flux.1 D" for file in files) == (2 if is_described else 0)


def test_synthetic_files_are_loras_of_the_playground_s_base_model(tmp_path: Path) -> None:
    own_folder.write_synthetic(tmp_path, 6)
    config = json.loads((own_folder.ROOT / "playground/models/flux/transformer/config.json").read_text())
    bounds = load(own_folder.ROOT / "params.yaml").pool
    layouts = {read(path, slots(config), bounds).layout for path in tmp_path.rglob("*.safetensors")}
    assert layouts == {"peft", "onetrainer"}
