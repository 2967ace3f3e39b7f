"""`autolora import gates`: published files become data/fusion; tests/parity has the files that are errors."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from autolora.cli import app
from autolora.fusion import store as fusion
from autolora.fusion.released_format import save_published
from autolora.lora.slots import slots
from autolora.presets.fusion import FUSION
from autolora.storage.incremental import read_digest
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
