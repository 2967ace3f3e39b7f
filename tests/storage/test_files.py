"""Atomic writes, JSON-lines tables, hashes, and the error for a full disk."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora.errors import AutoLoraError, DiskFull
from autolora.storage.files import (
    TAIL_BLOCK,
    append_rows,
    raising_disk_full,
    read_rows,
    write_atomic,
    write_rows,
)
from autolora.storage.hashes import hash_folder
from autolora.storage.lock import exclusive_lock
from tests.support.limits import disk_of

ROWS = [{"a": 1}, {"b": "x" * 200}]


def test_equal_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_atomic(path, "one")
    os.utime(path, ns=(1, 1))
    write_atomic(path, "one")
    assert path.stat().st_mtime_ns == 1
    write_atomic(path, b"two")
    assert path.read_text() == "two"
    assert [child.name for child in path.parent.iterdir()] == ["file.txt"]


def test_an_incomplete_line_is_skipped_and_truncated(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"a": 1}])
    with path.open("a") as stream:
        stream.write('{"a": 2')
    assert list(read_rows(path)) == [{"a": 1}]
    append_rows(path, [{"a": 3}])
    assert list(read_rows(path)) == [{"a": 1}, {"a": 3}]


def test_appending_finds_the_last_line_in_blocks_from_the_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"a": "x" * 10_000}])
    incomplete = '{"incomplete": "' + "y" * 3 * TAIL_BLOCK
    path.write_text(path.read_text() + incomplete)
    append_rows(path, [{"b": 1}])
    assert list(read_rows(path)) == [{"a": "x" * 10_000}, {"b": 1}]
    path.write_text(incomplete)
    append_rows(path, [{"b": 2}])
    assert path.read_text() == '{"b":2}\n'


def test_a_full_disk_raises_disk_full(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="No space left on device"), raising_disk_full(tmp_path):
        Path("/dev/full").write_text("a")
    with pytest.raises(FileNotFoundError), raising_disk_full(tmp_path):
        (tmp_path / "none").read_text()


@pytest.mark.parametrize(
    "write", [lambda path: write_atomic(path, "x" * 200), lambda path: append_rows(path, ROWS[1:])]
)
def test_a_full_disk_keeps_the_former_file_and_is_named(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, ROWS[:1])
    with pytest.raises(DiskFull, match=f"the disk that holds {tmp_path} is full"), disk_of(100):
        write(path)
    assert list(read_rows(path)) == ROWS[:1] and list(tmp_path.iterdir()) == [path]


def lock(root: Path) -> None:
    with exclusive_lock(root):
        pass


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomic(path, "x"),
        lambda path: append_rows(path, ROWS),
        lock,
    ],
)
def test_a_folder_that_cannot_be_written_is_named(write: Callable[[Path], None]) -> None:
    """In the file system of the kernel nobody makes files, not even root."""
    with pytest.raises(AutoLoraError, match=r"/sys/\S+ cannot be written \(.*\): check that"):
        write(Path("/sys/kernel/rows.jsonl"))


def test_a_missing_table_has_no_rows(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "none.jsonl")) == []


def test_a_folder_hash_depends_on_file_names(tmp_path: Path) -> None:
    write_rows(tmp_path / "a", [{"x": 1}])
    first = hash_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_folder(tmp_path) != first
