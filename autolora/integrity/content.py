"""Reading files to verify them: hashes, each computed once per file."""

import threading
from pathlib import Path

from autolora.storage.hashes import hash_file

FileState = tuple[int, int, int, int, int]
"""device, inode, size, time of modification and of the last change of the inode (ns)"""


class ContentReader:
    """Computes hashes of files and remembers them while a file is unchanged; thread-safe.

    Links to one file, such as a file of the working tree and its object in DVC's cache, are read once.
    """

    def __init__(self) -> None:
        self.bytes_read = 0
        self._results: dict[tuple[FileState, str], str] = {}
        self._lock = threading.Lock()

    def md5(self, path: Path) -> str:
        """Return the md5 (32 hex digits) of a file. Raises OSError if it cannot be read."""
        return self._result(path, "md5")

    def sha256(self, path: Path) -> str:
        """Return the sha256 (64 hex digits) of a file. Raises OSError if it cannot be read."""
        return self._result(path, "sha256")

    def has_md5(self, path: Path | None, md5: str | None) -> bool:
        """Return whether a file exists and has this md5."""
        try:
            return path is not None and self.md5(path) == md5
        except OSError:
            return False

    def _result(self, path: Path, method: str) -> str:
        status = path.stat()
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if (state, method) not in self._results:
            result = hash_file(path, method)
            with self._lock:
                self._results[state, method] = result
                self.bytes_read += status.st_size
        return self._results[state, method]
