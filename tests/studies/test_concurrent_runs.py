"""A second run on one cache is refused; a run that only reads is not."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora.errors import AutoLoraError
from autolora.storage.lock import exclusive_folder
from studies.gates import __main__ as gates
from studies.paper import __main__ as paper

SHIPPED = Path(__file__).parents[2] / "params.yaml"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of params alone, as working directory."""
    shutil.copy(SHIPPED, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("main", "cache"),
    [(gates.main, "gates_bench"), (paper.main, "paper")],
)
def test_a_second_run_is_refused(root: Path, main: Callable[[list[str]], None], cache: str) -> None:
    with exclusive_folder(root / "cache" / cache):
        with pytest.raises(
            AutoLoraError, match=f"another process is writing to .*/cache/{cache}: wait until"
        ):
            main([])
        assert not (root / "metrics").exists()


def test_gates_that_are_finished_are_reported_beside_a_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes: list[Path] = []
    monkeypatch.setattr(gates, "run", lambda options, home: homes.append(home))
    with exclusive_folder(root / "cache" / "gates_bench"):
        gates.main(["--finished"])
    assert homes == [root]
