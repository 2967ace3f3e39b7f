"""The commit of a night takes the night and nothing else."""

import subprocess
from pathlib import Path

import pytest

from flows import refresh


def test_a_night_commits_its_locks_and_nothing_that_is_staged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_AUTHOR_NAME", "t")
    monkeypatch.setenv("GIT_AUTHOR_EMAIL", "t@t")
    monkeypatch.setenv("GIT_COMMITTER_NAME", "t")
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", "t@t")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/catalog.jsonl").write_text("{}\n")
    (tmp_path / "mine.txt").write_text("half done")
    for arguments in (["init", "-q"], ["add", "mine.txt"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    refresh.commit.fn("1 added")
    refresh.commit.fn("nothing new")
    logged = subprocess.run(
        ["git", "log", "--format=%b", "--name-only"], cwd=tmp_path, text=True, capture_output=True
    )
    assert logged.stdout.split() == ["1", "added", "data/catalog.jsonl"]
