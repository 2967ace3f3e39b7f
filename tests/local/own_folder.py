"""A project for a folder with LoRAs of the playground, and the playground's published encoder."""

import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from autolora.local import reading
from autolora.local.indexing import IndexReport, index_folder
from autolora.local.project import PARAMS_FILE, set_values, train_until
from autolora.params import load
from autolora.search.retriever import open_retriever
from autolora.show.facts import facts
from autolora.show.lookup import lookup

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


def index(root: Path, today: datetime.date = TODAY, *, draw: bool = False) -> IndexReport:
    """Run `autolora index` in this process."""
    return index_folder(root, load(root / PARAMS_FILE), today, draw=draw)


def train(root: Path, today: datetime.date = TODAY) -> IndexReport:
    """Run `autolora index --train` in this process."""
    train_until(root, today)
    return index_folder(root, load(root / "params.yaml"), today, train=True)


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


def first_hit(root: Path, prompt: str = "a cat") -> str:
    """Return the id of the first hit of a prompt."""
    return open_retriever(root).search(prompt, k=1)[0].id


def show(root: Path, name: str) -> dict[str, Any]:
    """Return what `autolora show` states about a file."""
    return facts(lookup(root, name, load(root / "params.yaml").crawl))


def save_stronger(source: Path, target: Path) -> None:
    """Write a near-duplicate of a file: its update twice as strong."""
    target.parent.mkdir(exist_ok=True)
    save_file(
        {
            name: tensor * 2 if "lora_B" in name or "lora_up" in name else tensor
            for name, tensor in load_file(source).items()
        },
        target,
    )
