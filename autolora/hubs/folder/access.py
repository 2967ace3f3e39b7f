"""Access to files below a folder that is not trusted: no path and no link leads out of it.

Resolving every path would be slow. A path is therefore used as it is, with a single lstat, if its folder was
reached without a symbolic link; only links and paths behind links are resolved and checked.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from autolora.errors import AutoLoraError
from autolora.hubs.validation import is_safe_path, short_repr


class UnusableFile(AutoLoraError):
    """A file has an unsafe name or an invalid sidecar, is not a regular file, or leads out of the folder."""


@dataclass(frozen=True, slots=True)
class Root:
    """The hub's folder during a scan."""

    path: Path
    """with links resolved"""
    link_free: set[str] = field(default_factory=lambda: {""})
    """relative paths of the folders that were reached without a link, including the root itself"""


def resolve_inside(root: Path, path: str) -> Path:
    """Return the absolute path of a relative path, with links resolved.

    Raises UnusableFile if it is not below the folder, FileNotFoundError if it does not exist.
    """
    if not is_safe_path(path):
        raise UnusableFile(f"the path {short_repr(path)} is not allowed")
    top = root.resolve()
    try:
        resolved = (top / path).resolve(strict=True)
    except RuntimeError as error:
        raise UnusableFile("the link leads to itself") from error
    if not resolved.is_relative_to(top):
        raise UnusableFile("the link leads out of the folder")
    return resolved


@contextmanager
def open_inside(root: Path, path: str) -> Iterator[io.BufferedReader]:
    """Open a regular file below the folder for reading. Raises UnusableFile, OSError."""
    with open_file(resolve_inside(root, path)) as stream:
        yield stream


def open_file(path: Path | str) -> io.BufferedReader:
    """Open a regular file without following a link. Raises UnusableFile, OSError."""
    handle = os.open(
        path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    )  # opening a pipe would block otherwise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise UnusableFile("it is not a regular file")


def stat_file(root: Root, path: str) -> tuple[Path | str, os.stat_result]:
    """Return the absolute path and the status of a regular file. Raises UnusableFile, OSError."""
    if not is_safe_path(path):
        raise UnusableFile(f"the path {short_repr(path)} is not allowed")
    folder = path.rpartition("/")[0]
    absolute: Path | str = f"{root.path}/{path}"
    status = os.lstat(absolute) if folder in root.link_free else None
    if status is None or stat.S_ISLNK(status.st_mode):
        absolute = resolve_inside(root.path, path)
        status = os.lstat(absolute)
        if absolute.parent == root.path / folder:
            root.link_free.add(folder)
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFile("it is not a regular file")
    return absolute, status
