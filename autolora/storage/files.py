"""Files: atomic writes, hashes, and JSON lines that survive a kill."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from autolora.errors import DiskFull, MissingArtifact

Row = dict[str, Any]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""no space, no quota, or above the size that a file may have here"""
TAIL = 4096
"""bytes read at a time from the end of a table, in search of its last whole line"""


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part.

    A file that already has this content is left alone, its time stamp included.
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


def canonical_json(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_value(value: Any) -> str:
    """Return the sha256 (64 hex digits) of a JSON value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 (64 hex digits) of a file's bytes, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_folder(folder: Path) -> str:
    """Return one sha256 over the relative names and bytes of all files below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return hash_value([[str(path.relative_to(folder)), hash_file(path)] for path in files])


def sharded(folder: Path, sha256: str, suffix: str) -> Path:
    """Return the place of a content-addressed file: `folder/ab/abcd….suffix`."""
    return folder / sha256[:2] / f"{sha256}{suffix}"


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON-lines file; none if it is missing; a torn last line is passed over.

    Raises MissingArtifact that names a line that is not JSON.
    """
    if not path.exists():
        return
    *whole, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(whole, 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise MissingArtifact(
                f"{path}, line {number} is not JSON ({error}): put the file back with `dvc checkout`, "
                "or `git checkout` where it is in git"
            ) from error


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of this file left beside it; for a file that has one writer at a time."""
    for stray in path.parent.glob(f".{path.name}.*"):
        stray.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as JSON lines, atomically, in the given order; one writer at a time."""
    remove_leftovers(path)
    write_atomic(path, "".join(canonical_json(row) + "\n" for row in rows))


def append_rows(path: Path, rows: Iterable[Row]) -> None:
    """Append rows as JSON lines and flush them to disk; a torn line of a killed run is cut off first.

    Costs what is appended, however long the table is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(canonical_json(row) + "\n" for row in rows)
    with path.open("ab+") as stream:
        stream.truncate(_end_of_lines(stream))
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def room(place: Path) -> Iterator[None]:
    """Raise DiskFull, which names the place, where the block runs out of space."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFull(
            f"the disk of {place.absolute()} is full ({error.strerror}): make room and run this again; what was "
            "written whole is kept"
        ) from error


def _end_of_lines(stream: BinaryIO) -> int:
    """Return where the last whole line of a file ends."""
    end = stream.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - TAIL)
        stream.seek(start)
        if (found := stream.read(end - start).rfind(b"\n")) >= 0:
            return start + found + 1
        end = start
    return 0
