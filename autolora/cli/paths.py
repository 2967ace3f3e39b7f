"""Paths on the command line: relative to the working directory, with ~ for the home folder, and checked before work."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

import typer


def to_absolute(path: Path) -> Path:
    """Return an absolute path; `~/` at its beginning is the home folder, which a shell leaves as it is in `--file=~/x`.

    Commands change their working directory to the root of the repository, so call this before.
    """
    return Path(os.path.expanduser(path)).absolute()


def from_folder(path: Path, folder: Path) -> Path:
    """Return an absolute path as it is seen from a folder: relative if it is below it, else as it is."""
    return path.relative_to(folder) if path.is_relative_to(folder) else path


def unused_path(path: Path) -> Path:
    """Return the path, or if it exists the first that does not with a number behind its name: `cat-2.png`."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in count(2))
    return next(free for free in chain([path], numbered) if not os.path.lexists(free))


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield the path of a new, empty file, the first `unused_path`; it is removed if the block fails.

    Commands that run at the same time get different files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        free = unused_path(path)
        try:
            free.touch(exist_ok=False)
            break
        except FileExistsError:
            continue
    try:
        yield free
    except BaseException:
        free.unlink(missing_ok=True)
        raise


def check_can_write(path: Path, num_bytes: int, option: str) -> None:
    """Raise a usage error if a file of this size cannot be written to a path, before minutes are spent on its content.

    A temporary file of that size is written to the folder, or to its nearest existing parent, and removed: that finds
    missing permissions, read-only and full disks, exceeded quotas, and names that are too long.
    """
    try:
        if path.is_dir():
            raise typer.BadParameter(f"{path} is a folder: give a file", param_hint=option)
        folder = next(parent for parent in path.parents if os.path.lexists(parent))
        if not folder.is_dir():
            raise typer.BadParameter(f"{folder} is not a folder that can be written", param_hint=option)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f".{path.name}.") as stream:
            stream.write(bytes(num_bytes))
            stream.flush()
    except OSError as error:
        problem = f"{path} cannot be written ({error.strerror}): give another file"
        raise typer.BadParameter(problem, param_hint=option) from error
