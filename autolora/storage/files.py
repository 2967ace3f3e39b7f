"""Atomic file writes, and JSON-lines tables that survive a killed process."""

import errno
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from autolora.errors import DiskFull, MissingArtifact
from autolora.storage.hashes import canonical_json

Row = dict[str, Any]
MB = 1_000_000
"""bytes"""
DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""no space left, disk quota exceeded, or file larger than the process or file system allows"""
TAIL_BLOCK = 4096
"""bytes read at a time from the end of a table to find its last complete line"""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees either the old or the new file, never a part of it.

    If the file already has this content, nothing is written and its time stamp stays.
    """
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file that a stage has written; None if the file does not exist."""
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def sharded(folder: Path, sha256: str, suffix: str) -> Path:
    """Return the path of a content-addressed file: `folder/ab/abcd….suffix`."""
    return folder / sha256[:2] / f"{sha256}{suffix}"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines file; none if it is missing. An incomplete last line is skipped.

    Raises MissingArtifact, naming the line, if a complete line is not valid JSON.
    """
    if not path.exists():
        return
    *lines, _incomplete = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise MissingArtifact(
                f"{path}, line {number} is not valid JSON ({error}): restore the file with `dvc checkout`, "
                "or with `git checkout` if git tracks it"
            ) from error


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

    The cost depends on the appended rows only, not on the length of the table.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(canonical_json(row) + "\n" for row in rows)
    with path.open("ab+") as stream:
        stream.truncate(_end_of_last_line(stream))
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


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
