"""`python -m studies.released gates`: released files become data/fusion; tests/parity has files that are errors."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from autolora.errors import AutoLoraError
from autolora.fusion import store as fusion
from autolora.lora.slots import slots
from autolora.storage.incremental import read_digest
from studies.released.__main__ import main
from studies.released.presets import FUSION
from tests.support.published_gates import save_published
from tests.support.tiny_flux import CONFIG, save_pipeline

REPOSITORY = Path(__file__).parents[3]
FULL = replace(FUSION, gate="full")


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


def error_of(name: str) -> str:
    """Return the error for a file."""
    with pytest.raises(AutoLoraError) as caught:
        main(["gates", name])
    return f"{type(caught.value).__name__}: {caught.value}"


def test_converts_to_data_fusion_with_a_digest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gates = fusion.build(CONFIG, FULL)
    save_published(gates, root / "gates.safetensors")
    main(["gates", "gates.safetensors"])
    assert "dvc commit --force fusion" in capsys.readouterr().out
    loaded = fusion.load(slots(CONFIG), fusion.folder(root))
    assert loaded.variant == replace(FULL, global_rank=4)
    assert fusion.hash_weights(loaded) == fusion.hash_weights(gates) == read_digest(root, "fusion")["weights"]


def test_gates_for_another_base_model_are_an_error(root: Path) -> None:
    save_published(fusion.build(CONFIG | {"num_single_layers": 1}, FULL), root / "gates.safetensors")
    error = error_of("gates.safetensors")
    assert error.startswith("MismatchError: ") and "the base model that they were trained for" in error


def test_other_and_missing_files_are_errors(root: Path) -> None:
    save_file({"lora_A.weight": torch.zeros(2, 2)}, root / "lora.safetensors")
    assert "lora.safetensors: not released gates" in error_of("lora.safetensors")
    assert "MissingArtifact: cannot read gates from" in error_of("missing.safetensors")


def test_an_incomplete_file_is_named(root: Path) -> None:
    save_published(fusion.build(CONFIG, FULL), root / "gates.safetensors")
    tensors = load_file(root / "gates.safetensors")
    first = next(name for name in tensors if name.endswith("weight_lora"))
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, root / "gates.safetensors")
    assert f"1 missing ({first}): give a file" in error_of("gates.safetensors")
