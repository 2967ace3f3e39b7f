"""What holds the index of a revision on this machine."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from autolora.index.copies import COLUMNS_FILE
from autolora.index.served import Revision, copy_path
from autolora.index.store import SCHEMA
from autolora.integrity.dvc_records import object_path, write_list
from autolora.integrity.index_sources import CACHE, COPY, WORKING, index_sources
from autolora.storage.git import Commit

pytestmark = pytest.mark.slow

INDEX = "a" * 64


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a repository whose only commit has an index of one file, which DVC's cache holds."""
    git(tmp_path, "init", "-q")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet"], cwd=tmp_path, check=True)
    content = b"vectors"
    file = hashlib.md5(content).hexdigest()
    listed = write_list({"vectors": file})
    folder = hashlib.md5(listed).hexdigest() + ".dir"
    for md5, data in ((file, content), (folder, listed)):
        object_path(tmp_path, md5).parent.mkdir(parents=True, exist_ok=True)
        object_path(tmp_path, md5).write_bytes(data)
    lock = {"stages": {"index": {"outs": [{"path": "data/index", "md5": folder}]}}}
    (tmp_path / "dvc.lock").write_text(json.dumps(lock))
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "-q", "-m", "index")
    return tmp_path


def source_of_head(root: Path) -> str | None:
    commit = Commit(sha=git(root, "rev-parse", "HEAD"), date="2026-01-01", subject="index")
    return next(index_sources(root, [Revision(commit, INDEX, 1)]))


def test_the_cache_holds_an_index_only_if_it_has_every_object(root: Path) -> None:
    assert source_of_head(root) == CACHE
    object_path(root, hashlib.md5(b"vectors").hexdigest()).unlink()
    assert source_of_head(root) is None


def test_the_working_index_and_a_copy_are_at_hand(root: Path) -> None:
    (root / "data/index").mkdir(parents=True)
    (root / "digests").mkdir()
    (root / "digests/index.json").write_text(json.dumps({"schema": SCHEMA, "content": INDEX}))
    assert source_of_head(root) == WORKING
    copy_path(root, INDEX).mkdir(parents=True)
    (copy_path(root, INDEX) / COLUMNS_FILE).touch()
    assert source_of_head(root) == COPY


def test_a_commit_without_a_lock_has_no_index_at_hand(root: Path) -> None:
    git(root, "rm", "-q", "dvc.lock")
    git(root, "commit", "-q", "-m", "no lock")
    assert source_of_head(root) is None
