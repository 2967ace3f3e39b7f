"""`autolora import gates`: published files become data/fusion; tests/parity has the files that are errors."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from autolora.cli import app
from autolora.fusion import store as fusion
from autolora.lora.slots import slots
from autolora.presets.fusion import FUSION
from autolora.storage.incremental import read_digest
from tests.support.published_gates import save_published
from tests.support.tiny_flux import CONFIG, save_pipeline

REPOSITORY = Path(__file__).parents[2]
FULL = replace(FUSION["released"], gate="full")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pipeline(tmp_path_factory.mktemp("models") / "flux")


@pytest.fixture
def root(tmp_path: Path, pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with the tiny pipeline, as the working directory."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["models"]["pipeline"] = str(pipeline)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(REPOSITORY / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and output of `autolora import gates`."""
    result = CliRunner().invoke(app, ["import", "gates", *arguments])
    return result.exit_code, re.sub(r"(?m)^reading \S+\n", "", result.output)  # the line before slow imports


def test_imports_into_data_fusion_with_a_digest(root: Path) -> None:
    gates = fusion.build(CONFIG, FULL)
    save_published(gates, root / "gates.safetensors")
    code, output = run("gates.safetensors")
    assert code == 0, output
    assert "dvc commit --force fusion" in output
    loaded = fusion.load(slots(CONFIG), fusion.folder(root))
    assert loaded.variant == replace(FULL, global_rank=4)
    assert fusion.hash_weights(loaded) == fusion.hash_weights(gates) == read_digest(root, "fusion")["weights"]


def test_params_with_the_preset_released_decide_the_global_rank(root: Path) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["fusion"] |= {"preset": "released", "overrides": {"global_rank": 0}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    save_published(fusion.build(CONFIG, FULL), root / "gates.safetensors")
    code, output = run("gates.safetensors", "--output", "imported")
    assert (code, output.strip()) == (0, f"wrote {root / 'imported'}")
    assert fusion.load(slots(CONFIG), root / "imported").variant == replace(FULL, global_rank=0)
    assert not (root / "digests").exists()


def test_gates_for_another_base_model_are_an_error(root: Path) -> None:
    save_published(fusion.build(CONFIG | {"num_single_layers": 1}, FULL), root / "gates.safetensors")
    code, output = run("gates.safetensors")
    assert code == 1
    assert output.startswith("MismatchError: ") and "the base model that they were trained for" in output


def test_other_and_missing_files_are_errors(root: Path) -> None:
    save_file({"lora_A.weight": torch.zeros(2, 2)}, root / "lora.safetensors")
    code, output = run("lora.safetensors")
    assert code == 1 and "lora.safetensors: not published gates" in output
    code, output = run("missing.safetensors")
    assert code == 1 and "MissingArtifact: cannot read gates from" in output


def test_an_incomplete_file_is_named(root: Path) -> None:
    save_published(fusion.build(CONFIG, FULL), root / "gates.safetensors")
    tensors = load_file(root / "gates.safetensors")
    first = next(name for name in tensors if name.endswith("weight_lora"))
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, root / "gates.safetensors")
    code, output = run("gates.safetensors")
    assert code == 1 and f"1 missing ({first}): give a file" in output


def test_gates_that_a_project_has_trained_must_be_exported(root: Path) -> None:
    fusion.save(fusion.build(CONFIG, FUSION["best"]), slots(CONFIG), root / "other")
    code, output = run("other/model.safetensors")
    assert code == 1 and "other holds the trained gates of a project" in output
    assert "`autolora publish gates FOLDER`" in output
