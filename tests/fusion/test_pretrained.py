"""Pretrained gates: folders, model cards, hubs, and the stage that uses some."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autolora.errors import MismatchError, MissingArtifact, ParamsError
from autolora.fusion import stage, store
from autolora.fusion.gate import Gates
from autolora.fusion.pretrained import load_pretrained, save_pretrained
from autolora.lora.slots import slots
from autolora.params import load
from autolora.presets.fusion import FUSION
from autolora.pretrained.folder import push_to_hub
from autolora.storage.incremental import read_digest
from playground.hubs.state import Hub
from tests.support.hf_client import serve_hub
from tests.support.pretrained_folder import FACTS, TRAINING, flip_byte, rewrite_config
from tests.support.tiny_flux import CONFIG, save_pipeline

SHIPPED = load(Path(__file__).parents[2] / "params.yaml")


@pytest.fixture(params=["best", "released"])
def gates(request: pytest.FixtureRequest) -> Gates:
    torch.manual_seed(0)
    gates = store.build(CONFIG, FUSION[request.param])
    for tensor in gates.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape))
    return gates.eval().requires_grad_(False)


@pytest.fixture
def folder(tmp_path: Path, gates: Gates) -> Path:
    save_pretrained(tmp_path / "gates", gates, TRAINING, replace(FACTS, name="ann/gates"))
    return tmp_path / "gates"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serve_hub(tmp_path, monkeypatch) as hub:
        yield hub


def largest_difference(gates: Gates, others: Gates) -> float:
    state = others.state_dict()
    assert gates.state_dict().keys() == state.keys()
    return max(float((tensor - state[name]).abs().max()) for name, tensor in gates.state_dict().items())


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("float16", 5e-3)])
def test_gates_are_loaded_as_they_were_stored(tmp_path: Path, gates: Gates, dtype: Any, error: float) -> None:
    config = save_pretrained(tmp_path / "gates", gates, TRAINING, FACTS, dtype=dtype)
    pretrained = load_pretrained(tmp_path / "gates")
    pretrained.check_fits(CONFIG)
    assert pretrained.gates.variant == gates.variant
    assert largest_difference(gates, pretrained.gates) <= error
    assert (config.weights_error == 0) == (error == 0) and config.weights_error < 1e-3


def test_precision_that_gates_do_not_have_is_an_error(tmp_path: Path, gates: Gates) -> None:
    with pytest.raises(MismatchError, match="not as int8: use float16"):
        save_pretrained(tmp_path / "gates", gates, TRAINING, FACTS, dtype="int8")
    next(iter(gates.state_dict().values())).fill_(1e6)
    with pytest.raises(MismatchError, match="too large for float16"):
        save_pretrained(tmp_path / "gates", gates, TRAINING, FACTS, dtype="float16")
    assert not (tmp_path / "gates").exists()


def test_card_has_the_numbers_of_gates(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for text in (
        "license: apache-2.0",
        "subjects of both adapters | 0.75 | 0.59 to 0.89",
        "from: ann/gates",
    ):
        assert text in card
    assert "theme" not in card and "pipeline/" not in card


def test_gates_of_another_base_model_are_an_error(folder: Path) -> None:
    pretrained = load_pretrained(folder)
    with pytest.raises(
        MismatchError, match=r"gates, of which \d+ fit the \d+ slots of the base model: set models"
    ):
        pretrained.check_fits({**CONFIG, "num_layers": 2})
    with pytest.raises(MismatchError, match="gates, of which 0 fit"):
        pretrained.check_fits({**CONFIG, "attention_head_dim": 32})


def test_damaged_folder_is_an_error(folder: Path) -> None:
    rewrite_config(folder, lambda content: content["model"]["variant"].update(gate="no_lora"))
    with pytest.raises(MismatchError, match=r"do not fit the config.json beside them"):
        load_pretrained(folder)
    rewrite_config(folder, lambda content: content["model"]["variant"].update(global_rank=-1))
    with pytest.raises(MismatchError, match=r"variant\.global_rank is -1 but must be at least 0"):
        load_pretrained(folder)
    rewrite_config(folder, lambda content: content["model"].pop("variant"))
    with pytest.raises(MismatchError, match=r"variant must be a mapping, not null"):
        load_pretrained(folder)
    flip_byte(folder / "model.safetensors")
    with pytest.raises(MissingArtifact, match=r"model.safetensors is damaged"):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(further=1), "'further' is unknown"),
        (lambda content: content.pop("rank"), "'rank' is missing"),
        (lambda content: content["training"].pop("adapters"), r"'training\.adapters' is missing"),
        (lambda content: content.update(training=[]), "'training' must be an object"),
        (lambda content: content.update(model=[]), "'model' must be an object"),
        (lambda content: content.pop("schema"), "it has no field 'schema'"),
    ],
)
def test_a_config_with_other_fields_names_the_first(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite_config(folder, change)
    with pytest.raises(
        MissingArtifact, match=rf"is not the config of pretrained gates \({message}\): write it"
    ):
        load_pretrained(folder)


def test_upload_and_download(folder: Path, hub: Hub) -> None:
    commit = push_to_hub(folder, "ann/gates", "gates")
    pretrained = load_pretrained("ann/gates", commit)
    assert pretrained.folder.name == commit
    assert largest_difference(load_pretrained(folder).gates, pretrained.gates) == 0


def test_stage_uses_pretrained_gates_without_a_training_set(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, folder: Path
) -> None:
    pipeline = save_pipeline(tmp_path_factory.getbasetemp() / "tiny-flux")
    base = replace(SHIPPED.models, pipeline=str(pipeline), threads=1)
    params = replace(SHIPPED.fusion, from_=str(folder))
    stage.use_pretrained(tmp_path, params, base)
    digest = read_digest(tmp_path, "fusion")
    assert digest["adapters"] == TRAINING.adapters
    loaded = store.load(slots(CONFIG), store.folder(tmp_path))
    assert largest_difference(loaded, load_pretrained(folder).gates) == 0
    stage.use_pretrained(tmp_path, params, base)
    assert read_digest(tmp_path, "fusion") == digest
    with pytest.raises(ParamsError, match=r"fusion.from is owner/gates, .* set fusion.from_revision"):
        stage.use_pretrained(tmp_path, replace(params, from_="owner/gates"), base)
