"""The lock of a refresh, a repair and `autolora index`, so that one process at a time changes a repository."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autolora.errors import AutoLoraError

LOCK = "cache/refresh.lock"


@contextmanager
def exclusive_lock(root: Path) -> Iterator[int]:
    """Hold the repository's lock and yield its file descriptor.

    DVC inherits it, so a DVC process that survives its refresh holds the lock until it ends.
    Raises AutoLoraError if another process holds the lock.
    """
    path = root / LOCK
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AutoLoraError(
                f"another process is changing {root}: a refresh, a repair, `autolora index`, or DVC processes of a "
                "killed refresh (`pgrep -af dvc`); wait until it has ended, then run again"
            ) from error
        yield stream.fileno()
