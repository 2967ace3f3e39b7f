"""A refresh that is killed at any moment is completed by the next one, and no file of the pool is lost."""

import random
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autolora.pool import batches
from autolora.storage.hashes import hash_file
from playground.repository import kill_tree
from tests.support.repository import IDENTITY, Repository, change_params

DAYS = range(2, 6)
"""days that add one, five, one and one adapter to those of the first day"""


@dataclass
class FirstDay:
    """A repository after its first refresh, which no test changes, and the duration of a complete second one."""

    repository: Repository
    refresh_s: float

    def copy(self, target: Path) -> Repository:
        """Return a copy, with a DVC remote of its own that holds the first day."""
        for name in ("repository", "remote"):
            subprocess.run(
                ["cp", "-a", str(self.repository.root.parent / name), str(target / name)], check=True
            )
        return replace(self.repository, root=target / "repository")


@pytest.fixture(scope="module")
def first_day(repository: Repository, tmp_path_factory: pytest.TempPathFactory) -> FirstDay:
    """Run the first refresh, and the second one in a copy."""
    change_params(repository.root / "params.yaml", {"refresh": {"commit": True}})
    folder = tmp_path_factory.mktemp("first-day")
    (folder / "remote").mkdir()
    repository.run("dvc", "remote", "add", "-d", "store", "../remote")
    repository.commit("params")
    moved = replace(repository, root=folder / "repository")
    subprocess.run(["cp", "-a", str(repository.root), str(moved.root)], check=True)
    moved.committed_refresh(1)
    result = FirstDay(moved, 0.0)
    copy = result.copy(tmp_path_factory.mktemp("copy"))
    repository.hub({"day": DAYS[1]})
    started = time.monotonic()
    copy.committed_refresh(DAYS[1])
    return replace(result, refresh_s=time.monotonic() - started)


@pytest.mark.long(full=100, sample=1)
def test_a_killed_refresh_is_completed_by_the_next(first_day: FirstDay, tmp_path: Path, seed: int) -> None:
    """Kill all processes of a refresh that adds a batch, commits and pushes; run it again; compare a clone."""
    rng = random.Random(seed)
    day = rng.choice(DAYS)
    repository = first_day.copy(tmp_path)
    before = repository.pool_files()
    repository.hub({"day": day})
    kill_refresh(repository, day, after_s=rng.uniform(1, first_day.refresh_s))
    repository.committed_refresh(day)
    after = repository.pool_files()
    assert before.items() < after.items()
    members = batches.members(repository.root)
    assert {kind: len(files) for kind, files in members.items()} == {
        kind: sum(f"/{kind}/" in name for name in after) for kind in members
    }
    for name in members["weights"]:
        assert hash_file(batches.file_path(repository.root, "weights", name)) == name
    assert not repository.run("git", "status", "--porcelain").stdout
    assert not [path for path in repository.root.rglob("*.tmp") if ".dvc/cache" in str(path)]
    clone = replace(repository, root=tmp_path / "clone")
    repository.run("git", "clone", "-q", str(repository.root), str(clone.root))
    clone.run("dvc", "pull", "-q")
    assert clone.pool_files() == after
    assert "Running stage" not in clone.run("dvc", "repro").stdout


def kill_refresh(repository: Repository, day: int, after_s: float) -> None:
    """Run the refresh of a day, and kill it with all its children after some seconds."""
    process = repository.start("python", "-m", "flows.refresh", day=day, **IDENTITY)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        process.wait()
