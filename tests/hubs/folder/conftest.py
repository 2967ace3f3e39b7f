"""Fixtures of the tests of the folder hub."""

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "loras"
    root.mkdir()
    return root
