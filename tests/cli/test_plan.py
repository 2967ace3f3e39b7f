"""`autolora plan`: its table, its JSON, and what it does without a project."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from playground.repository import change_params
from tests.support import tiny_judges
from tests.support.tiny_flux import TOKENS, save_pipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a params.yaml of tiny models."""
    folder = tmp_path_factory.mktemp("project")
    judges = tiny_judges.params(folder / "judges")
    path = folder / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text())
    changes = {
        "models": {
            "pipeline": str(save_pipeline(folder / "flux")),
            "vlm": str(tiny_judges.save_vlm(folder / "vlm")),
        },
        "judges": {"clip": judges.clip, "vlm": judges.vlm},
        "generation": {"width": 32, "height": 32, "max_sequence_length": TOKENS},
        "fusion": {"image_size": 32},
    }
    change_params(path, changes)
    return path


@pytest.mark.parametrize("free", [1e15, 1e6])
def test_the_table_and_what_does_not_fit(params: Path, free: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(params.parent)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    result = CliRunner().invoke(app, ["plan", "--adapters", "1200"])
    assert result.exit_code == (free < 1e9), result.output
    assert "1,200 adapters, 6,000 images, 18,000 captions, on cpu" in re.sub(r"\s+", " ", result.stdout)
    assert ("Everything fits." in result.stdout) == (free > 1e9)
    assert ("of disk are needed" in result.stdout) == (free < 1e9)


def test_a_profile_is_planned_outside_of_a_project(
    params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["plan", "--params", str(params), "--adapters", "50", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["workload"]["adapters"] == 50 and content["lacks"] == []
    assert content["total"]["seconds"] == sum(stage["seconds"] for stage in content["stages"])


def test_without_params_or_numbers_the_error_says_what_to_give(
    params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    missing = CliRunner().invoke(app, ["plan", "--params", "nowhere.yaml"])
    assert missing.exit_code == 1 and "nowhere.yaml does not exist" in missing.output
    outside = CliRunner().invoke(app, ["plan"])
    assert outside.exit_code == 1 and "contains params.yaml" in outside.output
    unknown = CliRunner().invoke(app, ["plan", "--params", str(params)])
    assert unknown.exit_code == 1 and "`autolora plan --adapters 1000`" in unknown.output
