"""Reading and restoring committed files."""

import subprocess
from pathlib import Path

import pytest

from autolora.errors import MissingArtifact
from autolora.storage.git import history, read_committed, restore_committed


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git repository that contains one file in two versions."""
    git(tmp_path, "init", "-q")
    for text in ("one", "two"):
        (tmp_path / "lock").write_text(text)
        git(tmp_path, "add", "lock")
        git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", f"{text}\tfile")
    return tmp_path


def git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)


def test_a_former_version_is_read_without_changing_the_working_tree(repository: Path) -> None:
    assert read_committed(repository, "HEAD~1", "lock") == "one"
    assert (repository / "lock").read_text() == "two"


def test_a_file_is_read_with_its_line_ends(repository: Path) -> None:
    (repository / "lock").write_bytes(content := "eins\r\nzwölf\n".encode())
    git(repository, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "three")
    assert read_committed(repository, "HEAD", "lock").encode() == content


@pytest.mark.parametrize(
    ("rev", "path", "message"),
    [
        ("nowhere", "lock", "no revision 'nowhere'"),
        ("--help", "lock", "no revision"),
        ("HEAD", "none", "does not contain none"),
    ],
)
def test_a_missing_revision_or_file_is_named(repository: Path, rev: str, path: str, message: str) -> None:
    with pytest.raises(MissingArtifact, match=message):
        read_committed(repository, rev, path)


def test_no_revision_is_read_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(MissingArtifact, match="no revision 'HEAD'"):
        read_committed(tmp_path, "HEAD", "lock")


def test_a_missing_file_is_restored_from_head(repository: Path, tmp_path: Path) -> None:
    assert not restore_committed(repository, "lock")
    (repository / "lock").unlink()
    assert restore_committed(repository, "lock")
    assert (repository / "lock").read_text() == "two"
    assert not restore_committed(repository, "none")


def test_history_is_newest_first(repository: Path) -> None:
    assert [commit.subject for commit in history(repository, "lock")] == ["two\tfile", "one\tfile"]


def test_history_leaves_out_the_commit_that_deleted_the_file(repository: Path) -> None:
    git(repository, "rm", "-q", "lock")
    git(repository, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "deleted")
    assert [commit.subject for commit in history(repository, "lock")] == ["two\tfile", "one\tfile"]


def test_nothing_is_restored_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not restore_committed(tmp_path, "lock")
    with pytest.raises(MissingArtifact, match="install git"):
        history(tmp_path, "lock")
