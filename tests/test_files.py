import os
from pathlib import Path

from autolora.files import append_rows, hash_folder, read_rows, write_atomic, write_rows


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


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "none.jsonl")) == []


def test_a_folder_hash_knows_names_and_bytes(tmp_path: Path) -> None:
    write_rows(tmp_path / "a", [{"x": 1}])
    first = hash_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_folder(tmp_path) != first
