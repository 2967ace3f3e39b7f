"""A refresh that is killed at any moment is completed by the next one, and no file of the pool is lost."""

import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.pool import batches
from autolora.storage.hashes import hash_file
from playground.repository import IDENTITY, Repository, change_params, copy_folder, kill_tree
from tests.integration.conftest import FirstDay

DAYS = range(2, 6)
"""days that add one, five, one and one adapter to those of the first day"""
LATER_SHARE = 0.5
"""seconds of such a refresh, by those of the first, which trains the models"""


@pytest.fixture(scope="module")
def saved(repository: Repository) -> Repository:
    """The repository after its first refresh, with a DVC remote beside it that holds its files; tests copy both."""
    change_params(repository.root / "params.yaml", {"refresh": {"commit": True}})
    (repository.root.parent / "remote").mkdir()
    repository.run("dvc", "remote", "add", "-d", "store", "../remote")
    repository.commit("params")
    repository.run("dvc", "push", "-q")
    return repository


def copy_of(saved: Repository, folder: Path) -> Repository:
    """Return a copy of the repository, with a copy of its remote."""
    for name in ("repository", "remote"):
        copy_folder(saved.root.parent / name, folder / name)
    return replace(saved, root=folder / "repository")


@pytest.mark.long(full=100, sample=1)
def test_a_killed_refresh_is_completed_by_the_next(
    saved: Repository, first_day: FirstDay, tmp_path: Path, seed: int
) -> None:
    """Kill all processes of a refresh that adds a batch, commits and pushes; run it again; compare a clone."""
    rng = random.Random(seed)
    day = rng.choice(DAYS)
    repository = copy_of(saved, tmp_path)
    before = repository.pool_files()
    repository.hub({"day": day})
    kill_refresh(repository, day, after_s=rng.uniform(1, LATER_SHARE * first_day.seconds))
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
