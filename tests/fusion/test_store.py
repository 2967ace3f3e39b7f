"""Trained gates on disk that cannot be used: each error names the file, what differs, and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from autolora.errors import MismatchError
from autolora.fusion import store
from autolora.presets import FUSION
from autolora.slots import slots
from tests.support.pretrained_folder import rewrite_config
from tests.support.tiny_flux import CONFIG

NAMES = sorted(store.build(CONFIG, FUSION["best"]).state_dict())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.save(store.build(CONFIG, FUSION["best"]), slots(CONFIG), tmp_path)
    return tmp_path


def set_field(name: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content["variant"].update({name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_field("gate", "half"), r"variant\.gate is 'half'; allowed: 'full', 'no_base'"),
        (set_field("hinge", "0"), r"variant\.hinge must be of type float"),
        (set_field("depth", 1), r"unknown key 'variant\.depth'"),
        (lambda content: content["variant"].pop("gate"), r"missing key 'variant\.gate'"),
        (lambda content: content.update(variant=None), "variant must be a mapping"),
        (lambda content: content.update(schema=1), r"schema is 1, expected 2"),
    ],
    ids=["gate", "type", "further", "missing", "no variant", "schema"],
)
def test_a_config_of_another_version_names_the_field(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite_config(folder, change)
    with pytest.raises(
        MismatchError, match=rf"config\.json .*{message}.*: restore the gates .* or write them again"
    ):
        store.load(slots(CONFIG), folder)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def remove_all_of_a_slot(tensors: dict[str, Tensor]) -> None:
    for name in [name for name in tensors if "___0___attn___to_q" in name and "single" not in name]:
        del tensors[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: [tensors.pop(name) for name in NAMES[:5]], r"5 missing \((\S+, ){3}…\)"),
        (remove_all_of_a_slot, r"\d+ missing \(model_dict\.transformer_blocks___0___attn___to_q\.\S+, .*…\)"),
        (lambda tensors: tensors.update(other=torch.zeros(1)), r"1 unexpected \(other\)"),
        (
            lambda tensors: tensors.update({NAMES[0]: torch.zeros(3)}),
            r"1 of another shape \(\S+ \[3\] instead of \[\d+\]\)",
        ),
    ],
    ids=["missing", "slot", "unexpected", "shape"],
)
def test_other_tensors_are_counted_and_the_first_are_named(
    folder: Path, change: Callable[[dict[str, Tensor]], object], message: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(
        MismatchError, match=rf"model\.safetensors: .*{message}: restore the gates .* or write them again"
    ) as caught:
        store.load(slots(CONFIG), folder)
    assert len(str(caught.value).replace(str(folder), "")) < 600


def test_a_config_without_its_parts_is_damaged(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps([]))
    with pytest.raises(
        store.MissingArtifact, match=r"cannot be read .*: restore the gates .* or write them again"
    ):
        store.load(slots(CONFIG), folder)
