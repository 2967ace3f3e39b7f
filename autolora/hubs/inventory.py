"""An inventory of a folder: its LoRA files with what lies beside each, and what cannot be used of it."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from autolora.hubs.claims import PICTURES, WEIGHTS, glimpse, is_picture, is_safe
from autolora.hubs.sidecar import MAX_SIDECAR, Picture, Sidecar, read_sidecar


class Unusable(Exception):
    """A file that is not for us, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One file of weights; paths are relative to the folder, with slashes."""

    path: str
    size: int
    changed: float
    """newest time stamp of the file and of what describes it, seconds since 1970"""
    sidecar: Sidecar
    pictures: tuple[Picture, ...]

    @property
    def id(self) -> str:
        """What the file is called in the catalog."""
        return self.path.removesuffix(WEIGHTS)


def take_stock(root: Path, max_pictures: int) -> tuple[list[Item], tuple[str, ...]]:
    """Return the files of weights below a folder, and what could not be used of it, in words."""
    items: list[Item] = []
    problems: list[str] = []
    walk = os.walk(root, onerror=lambda error: problems.append(f"a folder cannot be read: {error}"))
    for folder, below, names in walk:
        here = Path(folder).relative_to(root)
        links = [name for name in below if os.path.islink(os.path.join(folder, name))]
        problems += [f"{_named(here, name)} is a link to a folder: not entered" for name in links]
        for name in (name for name in names if name.endswith(WEIGHTS)):
            try:
                item, trouble = _item(root, (here / name).as_posix(), max_pictures)
            except (Unusable, OSError) as error:
                problems.append(f"{_named(here, name)} was passed over: {error}")
            else:
                items.append(item)
                problems += [f"{glimpse(f'{item.id}.json')}: {problem}" for problem in trouble]
    return items, tuple(problems)


def inside(root: Path, path: str) -> Path:
    """Return where a relative path leads, links followed.

    Raises Unusable where that is not below the folder, FileNotFoundError where nothing is there.
    """
    if not is_safe(path):
        raise Unusable(f"{glimpse(path)} cannot be used as a name")
    top = root.resolve()
    try:
        place = (top / path).resolve(strict=True)
    except RuntimeError as error:
        raise Unusable("it is a link that leads to itself") from error
    if not place.is_relative_to(top):
        raise Unusable("it is a link that leads out of the folder")
    return place


@contextmanager
def opened(root: Path, path: str) -> Iterator[io.BufferedReader]:
    """Open a file below the folder for reading. Raises Unusable where it is none, OSError."""
    handle = os.open(inside(root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would block
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Unusable("it is no regular file")
        yield stream


def _item(root: Path, path: str, max_pictures: int) -> tuple[Item, tuple[str, ...]]:
    """Return a file with what describes it, and what is wrong in its sidecar.

    Raises Unusable or OSError where it, or its sidecar, cannot be used: that might have said what rules go by.
    """
    stem = path.removesuffix(WEIGHTS)
    if not is_safe(stem):
        raise Unusable("its name cannot be used")
    size, changed = _measure(root, path)
    sidecar = Sidecar()
    problems: tuple[str, ...] = ()
    if os.path.lexists(root / f"{stem}.json"):
        with opened(root, f"{stem}.json") as stream:
            text = stream.read(MAX_SIDECAR + 1)
        if len(text) > MAX_SIDECAR:
            raise Unusable(f"its sidecar is larger than {MAX_SIDECAR} bytes")
        try:
            sidecar, problems = read_sidecar(text)
        except ValueError as error:
            raise Unusable(f"its sidecar cannot be read: {error}") from error
        changed = max(changed, _measure(root, f"{stem}.json")[1])
    pictures: list[Picture] = []
    for picture in _shown(root, stem, sidecar):
        if len(pictures) >= max_pictures:
            break
        try:
            changed = max(changed, _measure(root, picture.path)[1])
        except (Unusable, OSError) as error:
            problems = (*problems, f"the picture {picture.path} was passed over: {error}")
        else:
            pictures.append(picture)
    item = Item(path=path, size=size, changed=changed, sidecar=sidecar, pictures=tuple(pictures))
    return item, problems


def _measure(root: Path, path: str) -> tuple[int, float]:
    """Return size and time stamp of a regular file."""
    found = inside(root, path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("it is no regular file")
    return found.st_size, found.st_mtime


def _shown(root: Path, stem: str, sidecar: Sidecar) -> list[Picture]:
    """Return the pictures that the sidecar names; where it names none, those beside the file."""
    folder = stem.rpartition("/")[0]
    if sidecar.renderings is not None:
        return [replace(one, path=f"{folder}/{one.path}".lstrip("/")) for one in sidecar.renderings]
    beside = [f"{stem}{middle}{suffix}" for middle in ("", ".preview") for suffix in PICTURES]
    paths = [path for path in beside if os.path.lexists(root / path)]
    if (root / stem).is_dir() and not (root / stem).is_symlink():
        paths += [f"{stem}/{name}" for name in sorted(os.listdir(root / stem)) if is_picture(name)]
    return [Picture(path=path) for path in paths]


def _named(folder: Path, name: str) -> str:
    return glimpse((folder / name).as_posix())
