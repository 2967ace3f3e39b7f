"""`autolora publish --encoder-only`, and the options of the command; test_push.py uploads an index."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from autolora.cli import app
from autolora.publication.encoder import load_published
from playground.hubs.server import running
from playground.hubs.state import Hub
from tests.support.hf_client import TOKEN, point_at
from tests.support.tiny_pool import make_pool

PUBLISH = ("publish", "out/encoder", "--encoder-only")


@pytest.fixture(autouse=True)
def here(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(root)
    return root


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_encoder_is_published_with_the_numbers_of_the_project(here: Path) -> None:
    result = run(*PUBLISH, "--license", "mit")
    assert result.exit_code == 0, result.output
    assert "out/encoder: " in result.output and result.output.endswith(" MB, encoder\n")
    assert load_published(here / "out/encoder").training.adapters > 0
    card = (here / "out/encoder/README.md").read_text()
    assert "| 0.50 | 0.25 to 0.75 | 9 | 2026-01-02 |" in card
    assert "license: mit" in card and str(here) not in card


@pytest.mark.slow
def test_push_by_the_environment_prints_what_another_project_needs(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(make_pool(tmp_path / "pool"), day=1)
    with running(hub) as endpoint:
        variables = {
            "HF_ENDPOINT": endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(tmp_path / "hf"),
        }
        command = [sys.executable, "-m", "autolora", *PUBLISH, "--push", "ann/encoder"]
        process = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
        assert process.returncode == 0, process.stderr
        commit = hub.repos["ann/encoder"].head.sha
        assert f"encoder:\n  from: ann/encoder\n  from_revision: {commit}" in process.stdout
        assert "autolora.open" not in process.stdout
        point_at(monkeypatch, endpoint, tmp_path / "cache")
        assert load_published("ann/encoder", commit).training.adapters > 0


def test_encoder_of_others_is_not_published(here: Path) -> None:
    params = yaml.safe_load((here / "params.yaml").read_text())
    params["encoder"]["from"] = "owner/name"
    (here / "params.yaml").write_text(yaml.safe_dump(params))
    result = run(*PUBLISH)
    assert result.exit_code == 1
    assert "encoder.from is owner/name: this project has not trained" in result.output
    assert not (here / "out").exists()


def test_private_without_an_upload_is_a_usage_error(here: Path) -> None:
    result = run(*PUBLISH, "--private")
    assert result.exit_code == 2
    assert "add --push ID" in result.output
    assert not (here / "out").exists()
