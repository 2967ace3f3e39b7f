"""`autolora plan`: its table, its JSON, and what it does without a project."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolora.cli import app
from autolora.cli.plan import _size
from playground.repository import change_params
from tests.support import tiny_judges
from tests.support.tiny_flux import TOKENS, save_pipeline

pytestmark = pytest.mark.slow

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


def test_the_table_states_what_was_computed_and_what_was_assumed(
    params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(params.parent)
    result = CliRunner().invoke(app, ["plan", "--adapters", "1200", "--images-per-adapter", "4"])
    assert result.exit_code == 0, result.output
    assert "1,200 adapters, 4,800 images, 14,400 captions, on cpu" in result.stdout
    sections = result.stdout.split("\n\n")
    assert [section.splitlines()[0] for section in sections[-4:]] == [
        "Counts",
        "Computed",
        "Not computed",
        "Risks",
    ]
    assert "per LoRA file (rank 16), 1,024 px per image: assumed, as there is no catalog" in result.stdout
    assert "assumed: 16 rank of an adapter in all slots" in result.stdout
    assert "counting the operations of" in result.stderr


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "–"),
        (1, "0.001 kB"),
        (999.4e3, "999 kB"),
        (999.6e3, "1 MB"),
        (999.4e6, "999 MB"),
        (999.5e6, "1 GB"),
        (1.234e9, "1.23 GB"),
        (80e9, "80 GB"),
        (999.6e9, "1 TB"),
    ],
)
def test_a_size_is_never_1000_of_a_unit_that_has_a_larger_one(size: float, text: str) -> None:
    assert _size(size) == text


def test_a_profile_is_planned_outside_of_a_project(
    params: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["plan", "--params", str(params), "--adapters", "50", "--json"])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["workload"]["adapters"] == 50
    assert content["total"]["seconds"] == sum(stage["seconds"] for stage in content["stages"])
    assert isinstance(content["risks"], list)


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
