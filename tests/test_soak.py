"""Long tests in a separate repository: sample, single seed, interruption, failures, and the recorded results."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import soak

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[1]
CONFTEST = (ROOT / "tests/conftest.py").read_text()
TESTS = """
import pathlib

import pytest

LOG = pathlib.Path(__file__).with_name("log.txt")


@pytest.mark.long(full=6, sample=2)
def test_long(tmp_path, seed):
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with LOG.open("a") as log:
        log.write(f"{seed} ")
    if seed == 3 and not LOG.with_suffix(".on").exists():
        LOG.with_suffix(".on").touch()
        raise KeyboardInterrupt
    assert seed != 4


def test_short():
    pass
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A git repository with a long test that is interrupted once at seed 3 and fails at seed 4."""
    pytester.makeini("[pytest]\nmarkers =\n    long(full, sample): long")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=TESTS)
    (pytester.path / ".gitignore").write_text("__pycache__\nlog.*\ncache\n")
    (pytester.path / "metrics").mkdir()
    commit(pytester.path)
    return pytester


def commit(root: Path) -> None:
    """Commit everything."""
    author = ["-c", "user.name=t", "-c", "user.email=t@t"]
    commands = (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "--allow-empty", "-m", "tests"])
    for arguments in commands:
        subprocess.run(["git", *arguments], cwd=root, check=True)


def new_seeds(root: Path) -> list[int]:
    """Return the seeds that the long test was called with since the last call of this function."""
    log = root / "log.txt"
    seeds = [int(seed) for seed in log.read_text().split()] if log.exists() else []
    log.unlink(missing_ok=True)
    return seeds


def result(root: Path) -> dict[str, Any]:
    """Return the row of the long test in metrics/soak.json."""
    (row,) = soak.results(root).values()
    return row


def test_plain_run_uses_the_sample(project: pytest.Pytester) -> None:
    project.inline_run().assertoutcome(passed=2)
    assert new_seeds(project.path) == [0, 1]
    assert not (project.path / soak.RESULTS).exists()


def test_single_seed(project: pytest.Pytester) -> None:
    project.inline_run("--seed", "5").assertoutcome(passed=1)
    assert new_seeds(project.path) == [5]
    project.inline_run("--seed", "4").assertoutcome(failed=1)


@pytest.mark.slow
def test_soak_continues_after_interruption_and_failures(project: pytest.Pytester) -> None:
    assert project.inline_run("--soak", no_reraise_ctrlc=True).ret == pytest.ExitCode.INTERRUPTED
    assert new_seeds(project.path) == [0, 1, 2, 3]
    assert (result(project.path)["count"], result(project.path)["failures"]) == (3, 0)
    project.inline_run("--soak").assertoutcome(failed=1)
    assert new_seeds(project.path) == [3, 4, 5]
    row = result(project.path)
    assert (row["count"], row["full"], row["failures"], row["seeds"]) == (6, 6, 1, [4])
    (traceback,) = (project.path / "cache/soak").rglob("4.txt")
    assert "assert seed != 4" in traceback.read_text()
    assert row["hardware"] and row["date"] and row["seconds"] > 0
    commit(project.path)
    project.inline_run("--soak").assertoutcome(failed=1)
    assert new_seeds(project.path) == [], "a commit of the results does not change the code"


def test_changed_code_starts_again(project: pytest.Pytester) -> None:
    (project.path / "log.on").touch()
    project.inline_run("--soak")
    first = result(project.path)["commit"]
    assert new_seeds(project.path) == [0, 1, 2, 3, 4, 5]
    (project.path / "new.py").write_text("")
    project.inline_run("--soak")
    assert new_seeds(project.path) == [0, 1, 2, 3, 4, 5]
    assert result(project.path)["commit"].startswith(f"{first}+")


def test_recorded_tests_exist() -> None:
    path = ROOT / soak.RESULTS
    for name in json.loads(path.read_text()) if path.exists() else {}:
        file, _, function = name.partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / file).read_text(), name
