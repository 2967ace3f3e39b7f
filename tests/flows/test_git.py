"""The commit of a refresh."""

import subprocess
from pathlib import Path

import psutil
import pytest

from autolora.catalog import store as catalog
from flows import git
from tests.support.waiting import wait_until


def test_commit_holds_the_refresh_and_nothing_else_that_is_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "ROOT", tmp_path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@t")
    (tmp_path / "data/catalog").mkdir(parents=True)
    (tmp_path / "data/catalog/0.jsonl").write_text("{}\n")
    (tmp_path / "data/catalog/.0.jsonl.left_by_a_kill").write_text("{")
    (tmp_path / "mine.txt").write_text("half done")
    for arguments in (["init", "-q"], ["add", "mine.txt"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    git.commit("Refresh\n\n1 added")
    git.commit("Refresh\n\nnothing new")
    log = subprocess.run(
        ["git", "log", "--format=%b", "--name-only"], cwd=tmp_path, text=True, capture_output=True
    )
    assert log.stdout.split() == ["1", "added", "data/catalog/0.jsonl"]


def test_commit_removes_the_catalog_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "ROOT", tmp_path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@t")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "data").mkdir()
    (tmp_path / catalog.FORMER).touch()
    git.commit("file")
    catalog.write(tmp_path, [])
    git.commit("folder")
    listed = subprocess.run(["git", "ls-files"], cwd=tmp_path, text=True, capture_output=True).stdout
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


def test_locks_stay_while_git_runs_in_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "ROOT", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".git/index.lock").touch()
    reader = subprocess.Popen(["git", "hash-object", "--stdin"], cwd=tmp_path, stdin=subprocess.PIPE)
    try:
        wait_until(lambda: psutil.Process(reader.pid).name() == "git")
        git.remove_stale_locks()
        assert (tmp_path / ".git/index.lock").exists()
    finally:
        reader.kill()
        reader.communicate()


@pytest.mark.parametrize("staged", [False, True])
def test_outputs_that_git_tracks_are_forgotten_and_stay_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, staged: bool
) -> None:
    """The removal is committed, unless the user has staged something else."""
    monkeypatch.setattr(git, "ROOT", tmp_path)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@t")
    files = ["data/captions/captions.jsonl", "data/pool/adapters.jsonl", "data/pool/batches/1/a.png"]
    kept = ["data/pool/batches/1.dvc", "data/pool/batches.jsonl", "mine.txt"]
    for name in (*files, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content\n")
    for command in (["init", "-q"], ["add", "--all", "data"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    if staged:
        subprocess.run(["git", "add", "mine.txt"], cwd=tmp_path, check=True)
    outputs = ["data/captions", "data/pool/adapters.jsonl", "data/pool/batches", "data/dataset"]
    assert git.untrack(outputs, commit=True) == files
    assert git.untrack(outputs, commit=True) == []
    assert all((tmp_path / name).exists() for name in files)
    listed = subprocess.run(["git", "ls-files", "data"], cwd=tmp_path, text=True, capture_output=True).stdout
    assert {*listed.split(), "mine.txt"} == set(kept)
    log = subprocess.run(["git", "log", "--format=%s"], cwd=tmp_path, text=True, capture_output=True).stdout
    assert log.splitlines() == ["all"] if staged else ["Stop tracking outputs that DVC keeps", "all"]
