"""`autolora index --train`: an encoder that is trained on one's own files and the captions of their images."""

import shutil
from datetime import date
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from autolora.cli import app
from autolora.errors import MissingArtifact
from autolora.index.served import open_index
from autolora.local.project import PARAMS_FILE
from autolora.local.settings import new_project
from autolora.params import load
from playground.world import LENGTHS
from tests.local.own_folder import POOL, REPOSITORY, first_hit, index, set_params, train, weights_of
from tests.local.test_captioning import ENGINE
from tests.local.test_without_encoder import LANGUAGE

pytestmark = pytest.mark.slow
NUM_FILES = 6


def own_params() -> dict[str, object]:
    """Return the playground's models, and the instructions that its VLM knows."""
    stated = yaml.safe_load((REPOSITORY / "params.yaml").read_text())["captions"]["instructions"]
    instructions = {f"captions.instructions.{length}": stated[length] for length in LENGTHS}
    return LANGUAGE | ENGINE | instructions | {"captions.batch": 8}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with LoRAs of the playground that have images."""
    folder = tmp_path / "loras"
    folder.mkdir()
    files = sorted(POOL.glob("*/*/*.safetensors"))
    files = [file for file in files if file.parent.parent.name in ("bytebrush", "grauwolf")][:NUM_FILES]
    for number, file in enumerate(files):
        shutil.copyfile(file, folder / f"file{number}.safetensors")
        shutil.copyfile(file.parent / "images" / "1.png", folder / f"file{number}.png")
    return folder


@pytest.fixture
def root(tmp_path: Path, folder: Path) -> Path:
    """Return a new project for that folder, without an encoder."""
    root = tmp_path / "project"
    root.mkdir()
    new_project(root, folder, None)
    set_params(root, own_params())
    return root


def test_weights_find_a_file_about_which_nothing_is_said(root: Path, folder: Path) -> None:
    assert not index(root).has_encoder
    report = train(root)
    assert report.has_encoder and report.captions == 0 and 0 < report.trained_on <= NUM_FILES
    shutil.copyfile(weights_of("duck"), folder / "x.safetensors")
    later = index(root)
    assert later.has_encoder and (later.trained_on, later.captions) == (0, 0)
    rows = open_index(root)
    assert len(rows.rows) == NUM_FILES + 1
    assert rows.has_weights and rows.weights_lengths.min() > 0


def test_a_training_of_the_same_day_covers_new_files(root: Path, folder: Path) -> None:
    files = sorted(folder.glob("file0*")) + sorted(folder.glob("file1*"))
    aside = root / "aside"
    aside.mkdir()
    for file in files:
        shutil.move(file, aside)
    former = train(root)
    for file in files:
        shutil.move(aside / file.name, folder)
    assert train(root).trained_on > former.trained_on


def test_without_images_nothing_is_trained(root: Path, folder: Path) -> None:
    for image in folder.glob("*.png"):
        image.unlink()
    with pytest.raises(MissingArtifact, match="put images beside your files"):
        train(root)
    assert not index(root).has_encoder and first_hit(root, "file3") == "file3"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"captions.engine": None}, "set captions.engine"),
        ({"encoder.from": str(REPOSITORY / "playground" / "encoder")}, "set encoder.from"),
    ],
)
def test_what_a_training_needs_is_said_before_anything_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, object], expected: str
) -> None:
    set_params(root, values)
    before = (root / PARAMS_FILE).read_text()
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["index", "--train"])
    assert result.exit_code and expected in " ".join(result.output.split())
    assert (root / PARAMS_FILE).read_text() == before and not (root / "data").exists()


def test_the_command_states_its_day_and_the_number_of_adapters(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    result = CliRunner().invoke(app, ["index", "--train"])
    assert result.exit_code == 0, result.output
    assert "trained an encoder on the captions of" in result.stdout
    assert load(root / PARAMS_FILE).dataset.train_until == date.today()
