"""Locks, so that one process at a time changes a repository or a folder; the system releases those of a killed one."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autolora.errors import AutoLoraError

LOCK = "cache/refresh.lock"
FOLDER_LOCK = ".lock"


@contextmanager
def exclusive_lock(root: Path) -> Iterator[int]:
    """Hold the repository's lock and yield its file descriptor: for a refresh, a repair and `autolora index`.

    DVC inherits it, so a DVC process that survives its refresh holds the lock until it ends.
    Raises AutoLoraError if another process holds the lock.
    """
    path = root / LOCK
    path.parent.mkdir(exist_ok=True)
    message = (
        f"another process is changing {root}: a refresh, a repair, `autolora index`, or DVC processes of a "
        "killed refresh (`pgrep -af dvc`); wait until it has ended, then run again"
    )
    with _hold(path, message) as descriptor:
        yield descriptor


def is_locked(root: Path) -> bool:
    """Return whether a process holds the repository's lock."""
    try:
        with (root / LOCK).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def exclusive_folder(folder: Path, alternative: str = "") -> Iterator[None]:
    """Hold the lock of a folder in which a long command keeps its work; the folder is made if it is missing.

    alternative: what a user may do instead of waiting, as the end of the message.
    Raises AutoLoraError if another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    writing = f"another process is writing to {folder.absolute()}"
    with _hold(folder / FOLDER_LOCK, f"{writing}: wait until it has ended, then run again{alternative}"):
        yield


@contextmanager
def _hold(path: Path, message: str) -> Iterator[int]:
    """Lock a file and yield its descriptor. Raises AutoLoraError with the message if another process holds it."""
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AutoLoraError(message) from error
        yield stream.fileno()
