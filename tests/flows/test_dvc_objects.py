"""Former versions of a folder, in git's history."""

import subprocess
from pathlib import Path

import pytest

from flows import dvc_objects


def test_versions_of_merges_discarded_branches_and_the_reflog_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc_objects, "ROOT", tmp_path)
    path = tmp_path / "data" / "batch.dvc"
    path.parent.mkdir()

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def commit(version: int) -> None:
        path.write_text(f"outs:\n- md5: v{version}.dir\n")
        git("add", ".")
        git("commit", "-m", str(version))

    git("init", "-b", "main")
    commit(1)
    git("checkout", "-b", "side")
    commit(2)
    git("checkout", "main")
    commit(3)
    git("merge", "-s", "ours", "--no-commit", "side")
    commit(4)
    git("checkout", "-b", "discarded")
    commit(5)
    git("checkout", "main")
    git("merge", "-s", "ours", "--no-ff", "discarded")
    git("branch", "-D", "side", "discarded")
    commit(6)
    git("reset", "--hard", "HEAD~")
    path.write_text("outs:\n- md5: v7.dir\n")
    versions = dvc_objects.FolderVersions(tmp_path / "data" / "batch", [])
    assert versions._oids() == {f"v{number}.dir" for number in range(1, 8)}
