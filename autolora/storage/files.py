"""Atomic file writes, and JSON-lines tables that survive a killed process."""

import errno
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from autolora.errors import AutoLoraError, DiskFull, MissingArtifact, ReadingFailed
from autolora.storage.hashes import canonical_json

Row = dict[str, Any]
MB = 1_000_000
GB = 1000 * MB
"""Bytes."""
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""no space left, disk quota exceeded, or file larger than the process or file system allows"""
UNWRITABLE_ERRNOS = (errno.EROFS, errno.EACCES, errno.EPERM)
RESTORE = "restore the file with `dvc checkout`, or with `git checkout` if git tracks it"
TAIL_BLOCK = 4096
"""bytes read at a time from the end of a table to find its last complete line"""

logger = logging.getLogger(__name__)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees either the old or the new file, never a part of it.

    If the file already has this content, nothing is written and its time stamp stays.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it if the block succeeds, and is removed if it fails.

    Raises DiskFull, AutoLoraError if no file can be made there.
    """
    with raising_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        with raising_disk_full(path.parent):
            yield temporary
            temporary.chmod(0o644)
            with temporary.open("rb") as stream:
                sync_and_rename(stream, temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sync_and_rename(stream: IO[bytes], temporary: Path, path: Path) -> None:
    """Flush a temporary file to disk and rename it to `path`; readers see either the old or the new file."""
    stream.flush()
    os.fsync(stream.fileno())
    os.replace(temporary, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None if the file does not exist. Raises MissingArtifact if it is damaged."""
    if not path.is_file():
        return None
    try:
        return _as_object(json.loads(path.read_bytes()))
    except ValueError as error:
        raise MissingArtifact(f"{path} is not valid JSON ({error}): {RESTORE}") from error


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines file; none if it is missing. An incomplete last line is skipped.

    Raises MissingArtifact, naming the line, if a complete line is not a JSON object.
    """
    for _, row in read_lines(path):
        yield row


def read_lines(path: Path) -> Iterator[tuple[bytes, Row]]:
    """Yield each line of a JSON-lines file, without its end, and its row. Raises as `read_rows`."""
    if not path.exists():
        return
    *lines, _incomplete = path.read_bytes().split(b"\n")
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")  # one call instead of one per line
    except ValueError:
        rows = [_parse_line(path, number, line) for number, line in enumerate(lines, 1)]
    if len(rows) != len(lines) or not all(isinstance(row, dict) for row in rows):
        rows = [_parse_line(path, number, line) for number, line in enumerate(lines, 1)]
    yield from zip(lines, rows, strict=True)


def _parse_line(path: Path, number: int, line: bytes) -> Row:
    try:
        return _as_object(json.loads(line))
    except ValueError as error:
        raise MissingArtifact(f"{path}, line {number} is not valid JSON ({error}): {RESTORE}") from error


def _as_object(content: Any) -> Row:
    """Return a JSON value that must be an object. Raises ValueError for another one."""
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {type(content).__name__}")
    return content


def remove_leftovers(path: Path) -> None:
    """Remove temporary files that killed writers of `path` left; safe if the file has one writer at a time."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        leftover.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, atomically and in the given order; the file must have one writer at a time."""
    remove_leftovers(path)
    write_atomic(path, "".join(canonical_json(row) + "\n" for row in rows))


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows as JSON lines and flush them to disk; first truncate an incomplete line of a killed run.

    The cost depends on the appended rows only, not on the length of the table. A file that shares its content with
    DVC's cache through a link is replaced by a copy first, since appending would change the cache too.
    Raises DiskFull, AutoLoraError if the file cannot be written.
    """
    text = "".join(canonical_json(row) + "\n" for row in rows)
    with raising_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        break_link(path)
        with path.open("ab+") as stream:
            stream.truncate(_end_of_last_line(stream))
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())


def break_link(path: Path) -> None:
    """Replace a symbolic or hard link by a writable copy of the file; do nothing if there is no other link."""
    if path.is_symlink() or (path.exists() and path.stat().st_nlink > 1):
        content = path.read_bytes()
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            stream.write(content)
            os.chmod(stream.name, 0o644)
            sync_and_rename(stream, Path(stream.name), path)


@contextmanager
def raising_disk_full(path: Path) -> Iterator[None]:
    """Raise DiskFull, naming `path`, if the block fails because the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRNOS:
            raise
        raise DiskFull(
            f"the disk that holds {path.absolute()} is full ({error.strerror}): free some space and run the command "
            "again; files that were written completely are kept"
        ) from error


@contextmanager
def raising_unwritable(path: Path) -> Iterator[None]:
    """Raise DiskFull or AutoLoraError, naming `path`, if the block may not write it, or on a full or read-only disk."""
    try:
        with raising_disk_full(path.parent):
            yield
    except OSError as error:
        if error.errno not in UNWRITABLE_ERRNOS:
            raise
        raise AutoLoraError(
            f"{path.absolute()} cannot be written ({error.strerror}): check that its disk is not mounted read-only and "
            "that you may write to this folder, then run the command again"
        ) from error


@contextmanager
def raising_reading_failed(name: str) -> Iterator[None]:
    """Raise ReadingFailed, naming a file or image, if the block fails to read it; log the traceback if unexpected.

    Errors of AutoLoRA and of a full disk are raised as they are: they say what is wrong, or concern all files.
    """
    try:
        yield
    except AutoLoraError:
        raise
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise
        raise ReadingFailed(f"{name} cannot be read: {error.strerror or type(error).__name__}") from error
    except Exception as error:
        logger.exception("%s cannot be read", name)
        problem = f"unexpected {type(error).__name__}, whose traceback is in the log"
        raise ReadingFailed(f"{name} cannot be read: {problem}") from error


def _end_of_last_line(stream: BinaryIO) -> int:
    """Return the byte offset at which the last complete line of a file ends."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - TAIL_BLOCK)
        stream.seek(start)
        if (newline := stream.read(end - start).rfind(b"\n")) >= 0:
            return start + newline + 1
        end = start
    return 0
