"""The params files as DVC writes them: an experiment (`dvc exp run -S`) changes the lines of its values alone."""

import difflib
import shutil
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["params.yaml", "profiles/flux.1-dev.yaml"])
def test_an_experiment_changes_the_lines_of_its_values_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copyfile(ROOT / name, path)
    before = path.read_text().splitlines()
    apply_overrides(path, ["retrieval.k=7", "crawl.newest=30", "+encoder.overrides.ridge=0.5"])
    changed = difflib.unified_diff(before, path.read_text().splitlines(), n=0, lineterm="")
    lines = [line for line in changed if line.startswith("+") and not line.startswith("+++")]
    assert [line.split("#")[0].split() for line in lines] == [
        ["+", "newest:", "30"],
        ["+", "overrides:"],
        ["+", "ridge:", "0.5"],
        ["+", "k:", "7"],
    ], "run `dvc exp run -S seed=0` and commit what it makes of params.yaml"
