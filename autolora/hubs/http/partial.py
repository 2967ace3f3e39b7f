"""Partial downloads: files on disk from which a later attempt, in any process, can resume a download."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from autolora.hubs.http.retry import TransientError
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value


@dataclass(frozen=True, slots=True)
class Progress:
    """How many bytes of a file have been downloaded, and of which version of it."""

    size: int
    """downloaded bytes"""
    etag: str | None
    """ETag of the version that the bytes belong to; None, and not resumable, if the hub sent none"""
    total: int | None
    """bytes of the complete file, if the hub reported them"""

    @property
    def is_complete(self) -> bool:
        """Whether all bytes have been downloaded."""
        return self.size == self.total


NO_PROGRESS = Progress(0, None, None)


@dataclass(frozen=True, slots=True)
class PartialDownload:
    """The first bytes of one URL's file, and a JSON file with the ETag and total size that they belong to."""

    path: Path
    metadata_path: Path

    def progress(self, limit: int) -> Progress:
        """Return the progress; NO_PROGRESS if the metadata is not valid or there are too many bytes."""
        try:
            size = self.path.stat().st_size
            metadata = json.loads(self.metadata_path.read_bytes())
            progress = Progress(size, metadata["etag"], metadata["total"])
        except (OSError, ValueError, KeyError, TypeError):
            return NO_PROGRESS
        if not isinstance(progress.etag, str | None) or not isinstance(progress.total, int | None):
            return NO_PROGRESS
        fits = size <= (limit if progress.total is None else min(limit, progress.total))
        return progress if fits and (progress.etag or progress.is_complete) else NO_PROGRESS

    def write_metadata(self, etag: str | None, total: int | None) -> None:
        """Write the ETag and total size of the version whose bytes are about to be written."""
        write_atomic(self.metadata_path, json.dumps({"etag": etag, "total": total}))

    def discard(self) -> None:
        """Remove the files, so that the next attempt starts from byte 0."""
        self.metadata_path.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    @contextmanager
    def open_locked(self) -> Iterator[BinaryIO]:
        """Yield the file, open for reading and writing with an exclusive lock; remove it if it stays empty.

        Raises TransientError if another thread or process holds the lock.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as stream:
            _lock(self.path, stream)
            try:
                yield stream
            finally:
                if _is_same_file(self.path, stream) and self.path.stat().st_size == 0:
                    self.discard()

    def move_to(self, target: Path) -> None:
        """Move the completed file to `target`, after removing the metadata, which must not outlive the file."""
        self.metadata_path.unlink(missing_ok=True)
        os.replace(self.path, target)


def partial_download(url: str, folder: Path) -> PartialDownload:
    """Return the partial download of a URL in a folder, named after the hash of the URL alone."""
    name = hash_value(url)
    return PartialDownload(folder / f"{name}.part", folder / f"{name}.part.json")


def prune_downloads(folder: Path, urls: Iterable[str]) -> None:
    """Remove everything from a folder except the partial downloads of `urls`, and the folder if it is empty."""
    if not folder.is_dir():
        return
    partials = [partial_download(url, folder) for url in urls]
    usable = [partial for partial in partials if partial.path.exists() and partial.metadata_path.exists()]
    retained = {path for partial in usable for path in (partial.path, partial.metadata_path)}
    for path in folder.iterdir():
        if path not in retained:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _lock(path: Path, stream: BinaryIO) -> None:
    """Lock an open file. Raises TransientError if another download holds it or has just completed it."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise TransientError("another download of the same URL is running") from error
    if not _is_same_file(path, stream):
        raise TransientError("another download of the same URL has just finished")


def _is_same_file(path: Path, stream: BinaryIO) -> bool:
    """Return whether `path` still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False
