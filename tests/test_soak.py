"""Tests in two sizes, on a repository of their own: samples, interruptions, failures, and what is written down."""

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
def run(pytester: pytest.Pytester) -> pytest.Pytester:
    """A repository with a long test that is interrupted once at seed 3 and fails with seed 4."""
    pytester.makeini("[pytest]\nmarkers =\n    long(full, sample): long")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_it=TESTS)
    (pytester.path / ".gitignore").write_text("__pycache__\nlog.*\ncache\n")
    (pytester.path / "metrics").mkdir()
    commit(pytester.path)
    return pytester


def commit(root: Path) -> None:
    """Commit everything."""
    who = ["-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "--allow-empty", "-m", "tests"]):
        subprocess.run(["git", *words], cwd=root, check=True)


def asked(root: Path) -> list[int]:
    """Return the seeds that the test was called with since the last call."""
    log = root / "log.txt"
    seeds = [int(seed) for seed in log.read_text().split()] if log.exists() else []
    log.unlink(missing_ok=True)
    return seeds


def written(root: Path) -> dict[str, Any]:
    """Return the line of the long test."""
    (line,) = soak.results(root).values()
    return line


def test_a_plain_run_takes_the_sample(run: pytest.Pytester) -> None:
    run.inline_run().assertoutcome(passed=2)
    assert asked(run.path) == [0, 1]
    assert not (run.path / soak.RESULTS).exists()


def test_one_seed_is_run_alone(run: pytest.Pytester) -> None:
    run.inline_run("--seed", "5").assertoutcome(passed=1)
    assert asked(run.path) == [5]
    run.inline_run("--seed", "4").assertoutcome(failed=1)


def test_a_soak_goes_on_where_it_was_stopped_and_past_failures(run: pytest.Pytester) -> None:
    assert run.inline_run("--soak", no_reraise_ctrlc=True).ret == pytest.ExitCode.INTERRUPTED
    assert asked(run.path) == [0, 1, 2, 3]
    assert (written(run.path)["count"], written(run.path)["failures"]) == (3, 0)
    run.inline_run("--soak").assertoutcome(failed=1)
    assert asked(run.path) == [3, 4, 5]
    line = written(run.path)
    assert (line["count"], line["full"], line["failures"], line["seeds"]) == (6, 6, 1, [4])
    (told,) = (run.path / "cache/soak").rglob("4.txt")
    assert "assert seed != 4" in told.read_text()
    assert line["hardware"] and line["date"] and line["seconds"] > 0
    commit(run.path)
    run.inline_run("--soak").assertoutcome(failed=1)
    assert asked(run.path) == [], "a commit of the results is no new code"


def test_other_code_is_soaked_from_the_start(run: pytest.Pytester) -> None:
    (run.path / "log.on").touch()
    run.inline_run("--soak")
    first = written(run.path)["commit"]
    assert asked(run.path) == [0, 1, 2, 3, 4, 5]
    (run.path / "new.py").write_text("")
    run.inline_run("--soak")
    assert asked(run.path) == [0, 1, 2, 3, 4, 5]
    assert written(run.path)["commit"].startswith(f"{first}+")


def test_what_was_soaked_is_still_there() -> None:
    path = ROOT / soak.RESULTS
    for name in json.loads(path.read_text()) if path.exists() else {}:
        file, _, function = name.partition("::")
        assert f"def {function.partition('[')[0]}(" in (ROOT / file).read_text(), name
