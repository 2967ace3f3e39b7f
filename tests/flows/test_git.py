"""The commit of a refresh."""

import subprocess
from pathlib import Path

import psutil
import pytest

from autolora.catalog import store as catalog
from flows import git
from tests.support.waiting import wait_until


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which the functions work, with an identity for commits."""
    monkeypatch.setattr(git, "ROOT", tmp_path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@t")
    return tmp_path


def test_commit_holds_the_refresh_and_nothing_else_that_is_staged(root: Path) -> None:
    (root / "data/catalog").mkdir(parents=True)
    (root / "data/catalog/0.jsonl").write_text("{}\n")
    (root / "data/catalog/.0.jsonl.left_by_a_kill").write_text("{")
    (root / "mine.txt").write_text("half done")
    for arguments in (["init", "-q"], ["add", "mine.txt"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    git.commit("Refresh\n\n1 added")
    git.commit("Refresh\n\nnothing new")
    log = subprocess.run(
        ["git", "log", "--format=%b", "--name-only"], cwd=root, text=True, capture_output=True
    )
    assert log.stdout.split() == ["1", "added", "data/catalog/0.jsonl"]


def test_commit_removes_the_catalog_of_an_earlier_version(root: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "data").mkdir()
    (root / catalog.FORMER).touch()
    git.commit("file")
    catalog.write(root, [])
    git.commit("folder")
    listed = subprocess.run(["git", "ls-files"], cwd=root, text=True, capture_output=True).stdout
    assert listed.split() == [*catalog.FILES]


def test_locks_of_a_killed_git_process_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    names = ("index.lock", "refs/heads/main.lock", "refs/tags/release/2026-01-05.lock")
    locks = [tmp_path / ".git" / name for name in names]
    for lock in locks:
        lock.parent.mkdir(exist_ok=True)
        lock.touch()
    git.remove_stale_locks()
    assert not any(lock.exists() for lock in locks)


def test_locks_stay_while_git_runs_in_the_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "ROOT", root)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / ".git/index.lock").touch()
    reader = subprocess.Popen(["git", "hash-object", "--stdin"], cwd=root, stdin=subprocess.PIPE)
    try:
        wait_until(lambda: psutil.Process(reader.pid).name() == "git")
        git.remove_stale_locks()
        assert (root / ".git/index.lock").exists()
    finally:
        reader.kill()
        reader.communicate()


@pytest.mark.parametrize("staged", [False, True])
def test_outputs_that_git_tracks_are_forgotten_and_stay_on_disk(
    root: Path, monkeypatch: pytest.MonkeyPatch, staged: bool
) -> None:
    """The removal is committed, unless the user has staged something else."""
    files = ["data/captions/captions.jsonl", "data/pool/adapters.jsonl", "data/pool/batches/1/a.png"]
    kept = ["data/pool/batches/1.dvc", "data/pool/batches.jsonl", "mine.txt"]
    for name in (*files, *kept):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("content\n")
    for command in (["init", "-q"], ["add", "--all", "data"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    if staged:
        subprocess.run(["git", "add", "mine.txt"], cwd=root, check=True)
    outputs = ["data/captions", "data/pool/adapters.jsonl", "data/pool/batches", "data/dataset"]
    assert git.untrack(outputs, commit=True) == files
    assert git.untrack(outputs, commit=True) == []
    assert all((root / name).exists() for name in files)
    listed = subprocess.run(["git", "ls-files", "data"], cwd=root, text=True, capture_output=True).stdout
    assert {*listed.split(), "mine.txt"} == set(kept)
    log = subprocess.run(["git", "log", "--format=%s"], cwd=root, text=True, capture_output=True).stdout
    assert log.splitlines() == ["all"] if staged else ["Stop tracking outputs that DVC keeps", "all"]
