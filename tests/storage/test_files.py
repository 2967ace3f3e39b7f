import os
from pathlib import Path

import pytest

from autolora.errors import DiskFull
from autolora.storage.files import TAIL, append_rows, hash_folder, read_rows, room, write_atomic, write_rows


def test_equal_content_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_atomic(path, "one")
    os.utime(path, ns=(1, 1))
    write_atomic(path, "one")
    assert path.stat().st_mtime_ns == 1
    write_atomic(path, b"two")
    assert path.read_text() == "two"
    assert [child.name for child in path.parent.iterdir()] == ["file.txt"]


def test_a_torn_line_is_passed_over_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"a": 1}])
    with path.open("a") as stream:
        stream.write('{"a": 2')
    assert list(read_rows(path)) == [{"a": 1}]
    append_rows(path, [{"a": 3}])
    assert list(read_rows(path)) == [{"a": 1}, {"a": 3}]


def test_appending_reads_the_end_of_a_table_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_rows(path, [{"a": "x" * 10_000}])
    long = '{"torn": "' + "y" * 3 * TAIL
    path.write_text(path.read_text() + long)
    append_rows(path, [{"b": 1}])
    assert list(read_rows(path)) == [{"a": "x" * 10_000}, {"b": 1}]
    path.write_text(long)
    append_rows(path, [{"b": 2}])
    assert path.read_text() == '{"b":2}\n'


def test_a_full_disk_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match="No space left on device"), room(tmp_path):
        Path("/dev/full").write_text("a")
    with pytest.raises(FileNotFoundError), room(tmp_path):
        (tmp_path / "none").read_text()


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "none.jsonl")) == []


def test_a_folder_hash_knows_names_and_bytes(tmp_path: Path) -> None:
    write_rows(tmp_path / "a", [{"x": 1}])
    first = hash_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_folder(tmp_path) != first
