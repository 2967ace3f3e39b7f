"""Fixtures of the tests of projects for one's own files."""

from pathlib import Path

import pytest

from autolora.local.settings import new_project
from autolora.storage import hash_cache
from tests.local.own_folder import ENCODER, FILES, copy


@pytest.fixture(autouse=True)
def _keep_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the hashes of files that are younger than two seconds as well."""
    monkeypatch.setattr(hash_cache, "MIN_AGE_S", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with three LoRAs, one of them in a subfolder."""
    folder = tmp_path / "loras"
    for number, theme in enumerate(FILES):
        copy(theme, folder / ("deep" if number else "") / f"file{number}.safetensors")
    return folder


@pytest.fixture
def root(tmp_path: Path, folder: Path) -> Path:
    """Return a new project for that folder."""
    root = tmp_path / "project"
    root.mkdir()
    new_project(root, folder, str(ENCODER))
    return root
