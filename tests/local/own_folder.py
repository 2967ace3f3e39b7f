"""A project for a folder with LoRAs of the playground, and the playground's pretrained encoder."""

import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from autolora.local import reading
from autolora.local.indexing import IndexReport, index_folder
from autolora.local.project import PARAMS_FILE, set_values
from autolora.params import load

REPOSITORY = Path(__file__).parents[2]
ENCODER = REPOSITORY / "playground" / "encoder"
POOL = REPOSITORY / "playground" / "pool"
FILES = {
    "cat": POOL / "grauwolf/untitled-24",
    "duck": POOL / "lumen9/my-style-v30",
    "chalkboard": POOL / "nh-paint/my-style-v28",
}
"""what a LoRA does -> its folder"""
TODAY = datetime.date(2026, 3, 1)


def weights_of(theme: str) -> Path:
    """Return the file of a LoRA of the playground."""
    (path,) = FILES[theme].glob("*.safetensors")
    return path


def images_of(theme: str) -> list[Path]:
    """Return the images of a LoRA of the playground."""
    return sorted((FILES[theme] / "images").glob("*.png"))


def copy(theme: str, path: Path) -> Path:
    """Copy the file of a LoRA to a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights_of(theme), path)
    return path


def index(root: Path, today: datetime.date = TODAY) -> IndexReport:
    """Run `autolora index` in this process."""
    return index_folder(root, load(root / PARAMS_FILE), today)


def set_params(root: Path, values: Mapping[str, object]) -> None:
    """Change values of a project's params.yaml."""
    path = root / PARAMS_FILE
    path.write_text(set_values(path.read_text(), values))


def record_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that receives the name of each LoRA file that is read from now on."""
    names: list[str] = []
    original = reading.read_adapter

    def recording(path: Path, *rest: object) -> object:
        names.append(path.name)
        return original(path, *rest)  # type: ignore[arg-type]  # passed on as they are

    monkeypatch.setattr(reading, "read_adapter", recording)
    return names
