"""A second run on one cache is refused."""

import shutil
from pathlib import Path

import pytest

from autolora.errors import AutoLoraError
from autolora.storage.lock import exclusive_folder
from studies.paper import __main__ as paper

SHIPPED = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of params alone, as working directory."""
    shutil.copy(SHIPPED, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_second_run_is_refused(root: Path) -> None:
    with exclusive_folder(root / "cache" / "paper"):
        with pytest.raises(AutoLoraError, match=r"another process is writing to .*/cache/paper: wait until"):
            paper.main([])
        assert not (root / "metrics").exists()
