"""Trained gates on disk that cannot be used: each error names the file, what differs, and what to do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from autolora.errors import MismatchError, MissingArtifact
from autolora.fusion import store
from autolora.lora.slots import slots
from autolora.presets.fusion import FUSION
from tests.support.published_encoder import rewrite_json
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
        (lambda content: content.update(schema=1), r"it is not of schema 3"),
        (
            lambda content: content.update(further=1),
            r"its fields are further, schema, slots, variant, expected sch",
        ),
        (
            lambda content: content.pop("slots"),
            r"its fields are schema, variant, expected schema, slots, variant",
        ),
        (lambda content: content.update(slots=None), r"its fields are schema, slots, variant"),
        (set_field("global_rank", -1), r"variant\.global_rank is -1 but must be at least 0"),
        (set_field("max_active", 9), r"variant\.max_active is 9 but must be between 2 and 4"),
        (
            set_field("relevance_weight", float("nan")),
            r"variant\.relevance_weight is nan but must be a finite",
        ),
        (set_field("init_bias", float("inf")), r"variant\.init_bias is inf but must be a finite number"),
    ],
)
def test_a_config_of_another_version_names_the_field(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite_json(folder / "config.json", change)
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
        (
            lambda tensors: tensors.update({NAMES[0]: tensors[NAMES[0]].int()}),
            r"1 not of floating-point numbers \(\S+ int32\)",
        ),
    ],
    ids=["missing", "slot", "unexpected", "shape", "type"],
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


def remove(path: Path) -> None:
    path.unlink()


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("damage", [remove, replace_by_folder, cut])
def test_all_damage_names_the_file_and_the_repair(
    folder: Path, damage: Callable[[Path], None], name: str
) -> None:
    damage(folder / name)
    with pytest.raises(
        MissingArtifact,
        match=rf"{name} cannot be read \(.+\): restore the gates \(`autolora verify` names the command\)",
    ) as caught:
        store.load(slots(CONFIG), folder)
    assert "Error(" not in str(caught.value)


def test_a_config_that_is_not_an_object_is_of_another_version(folder: Path) -> None:
    (folder / "config.json").write_text("[]")
    with pytest.raises(MismatchError, match=r"config\.json .*it is not of schema 3"):
        store.load(slots(CONFIG), folder)


def test_gates_that_were_never_trained_or_are_lost_name_both_remedies(tmp_path: Path) -> None:
    with pytest.raises(
        MissingArtifact, match=r"no trained gates in .*`dvc repro fusion`, .*`autolora verify"
    ):
        store.load(slots(CONFIG), tmp_path)


@pytest.mark.parametrize("rank", [0, 5])
def test_the_rank_of_the_global_lora_is_any_number_from_0(folder: Path, rank: int) -> None:
    rewrite_json(folder / "config.json", set_field("global_rank", rank))
    assert store.load(slots(CONFIG), folder).variant.global_rank == rank


def test_gates_of_another_rank_have_another_hash(folder: Path) -> None:
    former = store.load(slots(CONFIG), folder)
    rewrite_json(folder / "config.json", set_field("global_rank", 1))
    edited = store.load(slots(CONFIG), folder)
    assert store.hash_weights(edited) == store.hash_weights(former)
    assert store.hash_gates(edited) != store.hash_gates(former)


@pytest.mark.parametrize("name", ["keys", "training", "forward"])
def test_a_slot_with_the_name_of_an_attribute_is_an_error(name: str) -> None:
    tensors = {f"model_dict.{name}.norm_lora.weight": torch.zeros(4)}
    with pytest.raises(MismatchError, match="not gates of a transformer"):
        store.assemble(tensors, FUSION["best"], {name: 4})
