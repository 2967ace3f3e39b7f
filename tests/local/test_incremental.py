"""Later runs of `autolora index`: they read new and changed files only."""

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from autolora.errors import MissingArtifact
from autolora.index.served import copies_folder, served_digest
from autolora.local import reading
from autolora.search.retriever import open_retriever
from tests.local.own_folder import (
    TODAY,
    copy,
    first_hit,
    index,
    record_reads,
    save_stronger,
    show,
)

pytestmark = pytest.mark.slow


def test_a_second_run_reads_and_writes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = index(root)
    state = {path: path.lstat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    reads = record_reads(monkeypatch)
    after = index(root)
    assert (reads, after.index, sum(after.changes.values())) == ([], before.index, 0)
    changed = {path.name for path in state if path.lstat().st_mtime_ns != state[path]}
    assert changed <= {"refresh.lock"}


def test_moved_and_deleted_files_are_not_read(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index(root)
    reads = record_reads(monkeypatch)
    monkeypatch.setattr("autolora.storage.hash_cache.hash_file", lambda path: pytest.fail(f"{path} is read"))
    (folder / "cats").mkdir()
    (folder / "file0.safetensors").rename(folder / "cats" / "a cat.safetensors")
    (folder / "deep" / "file1.safetensors").unlink()
    report = index(root, TODAY.replace(day=9))
    assert reads == []
    assert report.changes == {"embedded": 1, "updated": 0, "removed": 1}, "a name is a text that is searched"
    assert (first_hit(root), len(open_retriever(root).index.rows)) == ("cats/a cat", 2)
    assert show(root, "cats/a cat")["first seen"] == TODAY.isoformat()
    with pytest.raises(MissingArtifact, match="no adapter 'file0'"):
        show(root, "file0")


def test_a_new_and_a_changed_file_are_read(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(root)
    reads = record_reads(monkeypatch)
    copy("cat", folder / "new.safetensors")
    copy("duck", folder / "file0.safetensors")
    report = index(root)
    assert reads == [] and len(report.copies) == 1  # both contents are known
    (folder / "deep" / "file2.safetensors").write_bytes(b"x")
    report = index(root)
    assert reads == ["file2.safetensors"]
    assert report.verdicts == {"accepted": ["deep/file1", "new"], "truncated": ["deep/file2"]}
    assert "refused (truncated)" in show(root, "deep/file2")["verdict"]


def test_a_near_duplicate_never_replaces_a_file_that_was_indexed_on_an_earlier_day(
    root: Path, folder: Path
) -> None:
    index(root)
    save_stronger(folder / "file0.safetensors", folder / "a" / "stronger.safetensors")
    for _ in range(2):
        report = index(root, TODAY + datetime.timedelta(1))
        assert report.originals == {"a/stronger": "file0"}
        assert report.verdicts["accepted"] == ["deep/file1", "deep/file2", "file0"]


def test_an_interrupted_run_is_continued(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, reads = reading.read_adapter, record_reads(monkeypatch)
    recording = reading.read_adapter

    def interrupted(*arguments: Any) -> Any:
        if len(reads) == 2:
            raise SystemExit(130)
        return recording(*arguments)

    monkeypatch.setattr(reading, "read_adapter", interrupted)
    with pytest.raises(SystemExit):
        index(root)
    assert served_digest(root) is None
    monkeypatch.setattr(reading, "read_adapter", original)
    reads = record_reads(monkeypatch)
    assert index(root).changes["embedded"] == 3 and len(reads) == 1


def test_old_copies_of_the_index_are_removed(root: Path, folder: Path) -> None:
    digests = []
    for number in range(3):
        (folder / "file0.json").write_text(json.dumps({"license": f"l{number}"}))
        (copies_folder(root) / ".unfinished").mkdir(parents=True, exist_ok=True)  # of another process
        digests.append(index(root).index)
    assert {path.name for path in copies_folder(root).iterdir()} == {*digests[1:], ".unfinished"}
    assert served_digest(root) == digests[-1]


def test_the_encoder_is_installed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index(root)
    with monkeypatch.context() as patched:
        patched.setattr(
            "autolora.publication.encoder.load_published", lambda _: pytest.fail("it is loaded again")
        )
        index(root)
    (root / "data/encoder/model.safetensors").unlink()
    index(root)
    assert (root / "data/encoder/model.safetensors").exists()
