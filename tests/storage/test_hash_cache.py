"""Kept hashes: a file is read again if and only if it may have changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from autolora.storage import hash_cache
from autolora.storage.hash_cache import cached_hashes
from autolora.storage.hashes import hash_file, hash_folder
from tests.support.waiting import wait_for_a_later_time_stamp


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that receives each file that is read; hashes of new files are kept."""
    paths: list[Path] = []

    def recording(path: Path) -> str:
        paths.append(path)
        return hash_file(path)

    monkeypatch.setattr(hash_cache, "hash_file", recording)
    monkeypatch.setattr(hash_cache, "MIN_AGE_S", 0)
    return paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"first")
    (folder / "inner" / "b").write_bytes(b"second")
    return folder


def digest(folder: Path) -> str:
    """Return the digest of a folder by a cache beside it."""
    with cached_hashes(folder.parent / "cache" / "hashes.json") as hash_one:
        return hash_folder(folder, hash_one)


def test_an_unchanged_file_is_read_once(folder: Path, read: list[Path]) -> None:
    assert [digest(folder) for _ in range(3)] == [hash_folder(folder)] * 3
    assert read == [folder / "a", folder / "inner" / "b"]


def test_a_renamed_or_moved_file_is_not_read_again(folder: Path, read: list[Path]) -> None:
    digest(folder)
    (folder / "a").rename(folder / "inner" / "c")
    (folder / "inner").rename(folder / "outer")
    read.clear()
    assert digest(folder) == hash_folder(folder)
    assert read == []


def test_a_file_that_replaces_another_under_its_name_is_read(folder: Path, read: list[Path]) -> None:
    """Only a name that is new is taken for that of a moved file."""
    digest(folder)
    (folder / "inner" / "b").replace(folder / "a")
    read.clear()
    assert digest(folder) == hash_folder(folder)
    assert read == [folder / "a"]


def rewrite(path: Path) -> None:
    """Write other content of the same size, in the same file."""
    path.write_bytes(b"FIRST")


def replace(path: Path) -> None:
    """Replace the file by another one of the same size."""
    other = path.with_name("other")
    other.write_bytes(b"FIRST")
    other.replace(path)


def extend(path: Path) -> None:
    """Append to the file."""
    path.write_bytes(b"first and more")


@pytest.mark.parametrize("change", [rewrite, replace, extend])
def test_a_change_is_noticed_even_if_the_modification_time_is_restored(
    folder: Path, read: list[Path], change: Callable[[Path], None]
) -> None:
    before = digest(folder)
    path = folder / "a"
    status = path.stat()
    wait_for_a_later_time_stamp(path)
    change(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    read.clear()
    assert digest(folder) == hash_folder(folder) != before
    assert read == [path]


def test_the_hash_of_a_file_that_has_just_changed_is_not_kept(
    folder: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hash_cache, "MIN_AGE_S", 60)
    assert digest(folder) == digest(folder)
    assert len(read) == 4


def test_the_hash_of_a_file_that_changes_while_it_is_read_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(path: Path) -> str:
        sha256 = hash_file(path)
        wait_for_a_later_time_stamp(path)
        rewrite(path)
        return sha256

    monkeypatch.setattr(hash_cache, "MIN_AGE_S", 0)
    with monkeypatch.context() as patched:
        patched.setattr(hash_cache, "hash_file", changing)
        digest(folder)
    assert digest(folder) == hash_folder(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"a": 1}', b'{"a": [1, 2, 3]}', b"\xff"])
def test_a_damaged_cache_is_written_again(folder: Path, read: list[Path], content: bytes) -> None:
    cache = folder.parent / "cache" / "hashes.json"
    cache.parent.mkdir()
    cache.write_bytes(content)
    assert digest(folder) == digest(folder) == hash_folder(folder)
    assert len(read) == 2


def test_a_cache_that_cannot_be_written_changes_no_result(folder: Path, read: list[Path]) -> None:
    (folder.parent / "cache").write_text("a file, so no folder can be created")
    assert digest(folder) == digest(folder) == hash_folder(folder)
    assert len(read) == 4


def test_an_interrupted_block_keeps_all_hashes(folder: Path, read: list[Path]) -> None:
    digest(folder)
    (folder / "a").write_bytes(b"changed")
    with (
        pytest.raises(KeyboardInterrupt),
        cached_hashes(folder.parent / "cache" / "hashes.json") as hash_one,
    ):
        hash_one(folder / "a")
        raise KeyboardInterrupt
    read.clear()
    assert digest(folder) == hash_folder(folder)
    assert read == []


def test_blocks_that_share_a_cache_keep_hashes_of_each_other(folder: Path, read: list[Path]) -> None:
    cache = folder.parent / "cache.json"

    def hash_in_block(name: str) -> None:
        with cached_hashes(cache, keep_others=True) as hash_one:
            hash_one(folder / name)

    hash_in_block("a")
    hash_in_block("inner/b")
    assert read == [folder / "a", folder / "inner" / "b"]
    hash_in_block("a")
    (folder / "inner" / "b").unlink()
    hash_in_block("a")
    assert len(read) == 2 and "/b" not in cache.read_text()


def test_a_missing_file_is_an_error(folder: Path, read: list[Path]) -> None:
    with pytest.raises(FileNotFoundError), cached_hashes(folder.parent / "cache.json") as hash_one:
        hash_one(folder / "nothing")
    assert not (folder.parent / "cache.json").exists()
