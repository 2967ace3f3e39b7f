"""Locks, so that one process at a time changes a repository or a folder; the system releases those of a killed one."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from autolora.errors import AutoLoraError
from autolora.storage.files import raising_unwritable

LOCK = "cache/refresh.lock"
FOLDER_LOCK = ".lock"
RETRY_S = 0.2
"""time after which a lock is tried once more: `is_locked` of another process holds it for a moment"""


@contextmanager
def exclusive_lock(root: Path) -> Iterator[int]:
    """Hold the repository's lock and yield its file descriptor: for a refresh and `autolora index`.

    DVC inherits it, so a DVC process that survives its refresh holds the lock until it ends.
    Raises AutoLoraError if another process holds the lock, or the repository cannot be written.
    """
    path = root / LOCK
    message = (
        f"another process is changing {root}: a refresh, `autolora index`, or DVC processes of a "
        "killed refresh (`pgrep -af dvc`); wait until it has ended, then run again"
    )
    with _hold(path, message) as descriptor:
        yield descriptor


def is_locked(root: Path) -> bool:
    """Return whether a process holds the repository's lock."""
    if not (root / LOCK).exists():
        return False
    with (root / LOCK).open() as stream:
        return not _try_lock(stream, fcntl.LOCK_SH)


@contextmanager
def exclusive_folder(folder: Path, alternative: str = "") -> Iterator[None]:
    """Hold the lock of a folder in which a long command keeps its work; the folder is made if it is missing.

    alternative: what a user may do instead of waiting, as the end of the message.
    Raises AutoLoraError if another process holds the lock.
    """
    writing = f"another process is writing to {folder.absolute()}"
    with _hold(folder / FOLDER_LOCK, f"{writing}: wait until it has ended, then run again{alternative}"):
        yield


@contextmanager
def _hold(path: Path, message: str) -> Iterator[int]:
    """Lock a file and yield its descriptor; its folder is made if it is missing.

    Raises AutoLoraError with the message if another process holds it, DiskFull, AutoLoraError if it cannot be written.
    """
    with raising_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    with stream:
        if not _try_lock(stream):
            time.sleep(RETRY_S)
            if not _try_lock(stream):
                raise AutoLoraError(message)
        yield stream.fileno()


def _try_lock(stream: IO[str], kind: int = fcntl.LOCK_EX) -> bool:
    """Return whether no other process had locked a file, which is locked then."""
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
