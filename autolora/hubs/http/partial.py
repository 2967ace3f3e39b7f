"""Parts: downloads that are under way, in files that outlive a killed process and can be gone on with."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autolora.hubs.http.retry import Interrupted
from autolora.storage.files import hash_value, write_atomic


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of a file there is."""

    have: int
    """bytes"""
    etag: str | None
    """the version that they are of; None where the hub names none: then it cannot be gone on with"""
    total: int | None
    """bytes of the whole, where the hub told"""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.have == self.total


NOTHING = Progress(0, None, None)


@dataclass(frozen=True, slots=True)
class Part:
    """The beginning of one URL's file, and a note of which version and size it is of."""

    path: Path
    note: Path

    def progress(self, limit: int) -> Progress:
        """Return what there is; nothing where it cannot be used: no note, or more bytes than there may be."""
        try:
            have = self.path.stat().st_size
            note = json.loads(self.note.read_bytes())
            found = Progress(have, note["etag"], note["total"])
        except (OSError, ValueError, KeyError, TypeError):
            return NOTHING
        if not isinstance(found.etag, str | None) or not isinstance(found.total, int | None):
            return NOTHING
        usable = have <= (limit if found.total is None else min(limit, found.total))
        return found if usable and (found.etag or found.complete) else NOTHING

    def describe(self, etag: str | None, total: int | None) -> None:
        """Note of which version and size the bytes are that come next."""
        write_atomic(self.note, json.dumps({"etag": etag, "total": total}))

    def discard(self) -> None:
        """Remove it; the next try starts from nothing."""
        self.note.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Yield the file for reading and writing, for one at a time; an empty one is not left behind.

        Raises Interrupted while another thread or process has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as stream:
            _lock(self.path, stream)
            try:
                yield stream
            finally:
                if _is_at(self.path, stream) and self.path.stat().st_size == 0:
                    self.discard()

    def deliver(self, target: Path) -> None:
        """Move the finished file to where it is wanted; once it is moved, the note may be the next one's."""
        self.note.unlink(missing_ok=True)
        os.replace(self.path, target)


def part_of(url: str, folder: Path) -> Part:
    """Return the part of a URL's file in a folder; the URL alone names it."""
    name = hash_value(url)
    return Part(folder / f"{name}.part", folder / f"{name}.part.json")


def keep_parts(folder: Path, urls: Iterable[str]) -> None:
    """Remove everything from a folder of downloads but the parts of these URLs, and the folder if it is empty."""
    if not folder.is_dir():
        return
    parts = [part_of(url, folder) for url in urls]
    whole = [part for part in parts if part.path.exists() and part.note.exists()]
    wanted = {path for part in whole for path in (part.path, part.note)}
    for path in folder.iterdir():
        if path not in wanted:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _lock(path: Path, stream: BinaryIO) -> None:
    """Lock an open part; one that was delivered between opening and locking is somebody's file by now."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Interrupted("another download of it is under way") from error
    if not _is_at(path, stream):
        raise Interrupted("another download of it has just ended")


def _is_at(path: Path, stream: BinaryIO) -> bool:
    """Tell whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
