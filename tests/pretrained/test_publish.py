"""`autolora publish encoder` and `autolora publish gates`: from a project to a folder, and to a hub."""

import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

from autolora import models
from autolora.cli import app
from autolora.encoder import pretrained as encoders
from autolora.encoder import store as encoder_store
from autolora.fusion import pretrained as gates
from autolora.fusion import store as fusion_store
from autolora.lora.slots import slots
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.presets.fusion import FUSION
from autolora.pretrained.config import TrainingSet
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.hf_client import TOKEN, point_at
from tests.support.pretrained_folder import ridge_encoder
from tests.support.synthetic_repo import make_adapters, write_dataset, write_repository
from tests.support.tiny_flux import CONFIG, save_pipeline
from tests.support.tiny_pool import make_pool
from tests.support.tiny_sentences import WordSums, plain_language

REPOSITORY = Path(__file__).parents[2]
THEMES = ("mosaic", "neon")
PUBLISH_ENCODER = ("publish", "encoder", "out/encoder", "--license", "mit")
PUBLISH_GATES = ("publish", "gates", "out/gates", "--license", "mit")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a training lock, a trained encoder, trained gates, and a headline number."""
    root = tmp_path_factory.mktemp("project")
    write_repository(root, make_adapters(themes=THEMES))
    write_dataset(root)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["models"] |= {"pipeline": str(save_pipeline(root / "flux")), "threads": 1}
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copy(REPOSITORY / "dvc.yaml", root)
    encoder = ridge_encoder(models.load_text_encoder(load(root / "params.yaml").models).digest)
    encoder_store.save_encoder(encoder_store.folder(root), encoder, language=plain_language(WordSums()))
    encoder_store.write_encoder_digest(root, encoder, {}, adapters=4, texts=16)
    torch.manual_seed(0)
    trained = fusion_store.build(CONFIG, FUSION["best"])
    fusion_store.save(trained, slots(CONFIG), fusion_store.folder(root))
    fusion_store.write_fusion_digest(root, trained, {}, adapters=4, left_out=0)
    row = Headline(name="retrieval.weights_theme_r_at_1_unseen", value=0.5, low=0.25, high=0.75, n=9)
    update(root, "a test", datetime.date(2026, 1, 2), [row])
    return root


@pytest.fixture
def root(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project, in which commands run."""
    shutil.copytree(project, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def change_params(root: Path, section: str, **values: object) -> None:
    params = yaml.safe_load((root / "params.yaml").read_text())
    params[section] |= values
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def test_encoder_is_published_with_training_set_and_metrics(root: Path) -> None:
    result = run(*PUBLISH_ENCODER, "--dtype", "int8", "--rank", "64", "--with-pipeline")
    assert result.exit_code == 0, result.output
    assert "out/encoder: " in result.output and "relative error of a tensor at most" in result.output
    pretrained = encoders.load_pretrained(root / "out/encoder")
    lock = [row for row in (root / "data/training.jsonl").read_text().splitlines() if '"train"' in row]
    assert pretrained.config.training == TrainingSet(
        adapters=len(lock), families=len(lock), train_until="2026-01-01", licenses={"apache-2.0": len(lock)}
    )
    assert (pretrained.config.dtype, pretrained.config.rank) == ("int8", 5)
    assert pretrained.pipeline is not None
    assert pretrained.language is not None and pretrained.language.model == WordSums().digest
    card = (root / "out/encoder/README.md").read_text()
    assert "# out/encoder" in card and "| 0.50 | 0.25 to 0.75 | 9 | 2026-01-02 |" in card
    assert "license: mit" in card and str(root) not in card


def test_gates_are_published(root: Path) -> None:
    result = run(*PUBLISH_GATES, "--dtype", "float16", "--base-model", "black-forest-labs/FLUX.1-dev")
    assert result.exit_code == 0, result.output
    pretrained = gates.load_pretrained(root / "out/gates")
    pretrained.check_fits(CONFIG)
    assert pretrained.config.training.licenses.keys() == {"apache-2.0"}
    assert "base_model: black-forest-labs/FLUX.1-dev" in (root / "out/gates/README.md").read_text()


@pytest.mark.slow
def test_push_by_the_environment_prints_what_another_project_needs(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    with running(hub) as endpoint:
        variables = {
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "hf"),
        }
        command = [sys.executable, "-m", "autolora", *PUBLISH_ENCODER, "--push", "ann/encoder"]
        process = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
        assert process.returncode == 0, process.stderr
        commit = hub.repos["ann/encoder"].head.sha
        assert f"encoder:\n  from: ann/encoder\n  from_revision: {commit}" in process.stdout
        assert "# ann/encoder" in (root / "out/encoder/README.md").read_text()
        point_at(monkeypatch, endpoint, tmp_path / "cache")
        assert encoders.load_pretrained("ann/encoder", commit).config.kind == "encoder"


@pytest.mark.parametrize(("section", "command"), [("encoder", PUBLISH_ENCODER), ("fusion", PUBLISH_GATES)])
def test_model_of_others_is_not_published(root: Path, section: str, command: tuple[str, ...]) -> None:
    change_params(root, section, **{"from": "owner/name"})
    result = run(*command)
    assert result.exit_code == 1
    assert f"{section}.from is owner/name: this project has not trained" in result.output
    assert not (root / "out").exists()


def test_imported_encoder_has_no_training_set(root: Path) -> None:
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    encoder_store.write_encoder_digest(root, encoder, {"file": "0"}, adapters=0, texts=0)
    assert run(*PUBLISH_ENCODER).exit_code == 0
    assert encoders.load_pretrained(root / "out/encoder").config.training.adapters == 0
    assert "imported" in (root / "out/encoder/README.md").read_text()


@pytest.mark.parametrize("command", [PUBLISH_ENCODER, PUBLISH_GATES, ("publish", "index", "out/index")])
def test_private_without_an_upload_is_a_usage_error(root: Path, command: tuple[str, ...]) -> None:
    result = run(*command, "--private")
    assert result.exit_code == 2
    assert "add --push ID" in result.output
    assert not (root / "out").exists()


def test_license_is_required(root: Path) -> None:
    result = run("publish", "encoder", "out")
    assert result.exit_code == 2
    assert "--license" in result.output
