"""An inventory of a folder: its LoRA files with what lies beside each, and what cannot be used of it.

A file right in a folder that was reached without a link is looked at where it lies, by one call to the system; only
what is a link, or was reached through one, has its whole path followed.
"""

import io
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from autolora.hubs.folder.sidecar import MAX_SIDECAR, Picture, Sidecar, read_sidecar
from autolora.hubs.validation import PICTURES, WEIGHTS, glimpse, is_picture, is_safe, is_weights


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
        return id_of(self.path)


def id_of(path: str) -> str:
    """Return a file's id: its path, without its suffix where `path_of` gives it back."""
    stem = path.removesuffix(WEIGHTS)
    return path if is_weights(stem) else stem


def path_of(id: str) -> str:
    """Return the path of the file that has this id."""
    return id if is_weights(id) else id + WEIGHTS


@dataclass(frozen=True, slots=True)
class _Ground:
    """The folder that an inventory is taken of."""

    top: Path
    """its place, links followed"""
    real: set[str] = field(default_factory=lambda: {""})
    """paths of folders below it, itself included, that were reached without a link"""


@dataclass(frozen=True, slots=True)
class _Contents:
    """The names right in one folder."""

    folder: str
    weights: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    """to folders"""
    names: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """name with its suffix in lower case -> names as they are"""


def take_inventory(root: Path, max_pictures: int) -> tuple[list[Item], tuple[str, ...], frozenset[str]]:
    """Return the files of weights below a folder; what could not be used of it, in words; ids of files among that."""
    ground, waiting = _Ground(root.resolve()), [""]
    items: list[Item] = []
    problems: list[str] = []
    unreadable: set[str] = set()
    while waiting:
        try:
            contents = _read_folder(ground, waiting.pop())
        except OSError as error:
            problems.append(f"a folder cannot be read: {error}")
            continue
        below = [_join(contents.folder, name) for name in contents.folders]
        ground.real.update(below)
        waiting += below
        links = (_named(contents.folder, name) for name in contents.links)
        problems += [f"{link} is a link to a folder: not entered" for link in links]
        for name in contents.weights:
            try:
                item, trouble = _item(ground, contents, name, max_pictures)
            except (Unusable, OSError) as error:
                problems.append(f"{_named(contents.folder, name)} was passed over: {error}")
                id = id_of(_join(contents.folder, name))
                unreadable |= {id} if is_safe(id) else set()
            else:
                items.append(item)
                problems += trouble
    return items, tuple(problems), frozenset(unreadable)


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
    with _open(inside(root, path)) as stream:
        yield stream


def _open(place: Path | str) -> io.BufferedReader:
    """Open a regular file that is no link. Raises Unusable, OSError."""
    handle = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would block
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise Unusable("it is no regular file")


def _read_folder(ground: _Ground, folder: str) -> _Contents:
    """Return what lies in a folder, in the order of its names. Raises OSError."""
    contents = _Contents(folder)
    with os.scandir(os.path.join(ground.top, folder)) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                contents.folders.append(entry.name)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                contents.links.append(entry.name)
            elif is_weights(entry.name):
                contents.weights.append(entry.name)
            stem, dot, suffix = entry.name.rpartition(".")
            contents.names[stem + dot + suffix.lower()].append(entry.name)
    return contents


def _item(ground: _Ground, contents: _Contents, name: str, max_pictures: int) -> tuple[Item, tuple[str, ...]]:
    """Return a file with what describes it, and what is wrong with that.

    Raises Unusable or OSError where it, or its sidecar, cannot be used: that might have said what rules go by.
    """
    path, stem = _join(contents.folder, name), name[: -len(WEIGHTS)]
    if not is_safe(_join(contents.folder, stem)):
        raise Unusable("its name cannot be used")
    _, found = _look(ground, path)
    changed = found.st_mtime
    sidecar = Sidecar()
    problems: list[str] = []
    if beside := contents.names.get(f"{stem}.json"):
        sidecar, trouble, described = _read_sidecar(ground, contents.folder, beside)
        problems += [f"{_named(contents.folder, beside[0])}: {problem}" for problem in trouble]
        changed = max(changed, described)
    teller = beside[0] if beside and sidecar.renderings is not None else name
    pictures: list[Picture] = []
    for picture in _shown(ground, contents, stem, sidecar):
        if len(pictures) >= max_pictures:
            break
        try:
            changed = max(changed, _look(ground, picture.path)[1].st_mtime)
        except (Unusable, OSError) as error:
            lost = f"the picture {_named('', picture.path)} was passed over: {error}"
            problems.append(f"{_named(contents.folder, teller)}: {lost}")
        else:
            pictures.append(picture)
    item = Item(path=path, size=found.st_size, changed=changed, sidecar=sidecar, pictures=tuple(pictures))
    return item, tuple(problems)


def _read_sidecar(ground: _Ground, folder: str, names: list[str]) -> tuple[Sidecar, tuple[str, ...], float]:
    """Return what the one sidecar says, what is wrong in it, and its time stamp. Raises Unusable, OSError."""
    if len(names) > 1:
        raise Unusable(f"it has more than one sidecar: {glimpse(names)}")
    place, found = _look(ground, _join(folder, names[0]))
    with _open(place) as stream:
        text = stream.read(MAX_SIDECAR + 1)
    if len(text) > MAX_SIDECAR:
        raise Unusable(f"its sidecar is larger than {MAX_SIDECAR} bytes")
    try:
        return *read_sidecar(text), found.st_mtime
    except ValueError as error:
        raise Unusable(f"its sidecar cannot be read: {error}") from error


def _look(ground: _Ground, path: str) -> tuple[Path | str, os.stat_result]:
    """Return where a regular file lies, and its state. Raises Unusable, OSError."""
    if not is_safe(path):
        raise Unusable(f"{glimpse(path)} cannot be used as a name")
    folder = path.rpartition("/")[0]
    place: Path | str = f"{ground.top}/{path}"
    found = os.lstat(place) if folder in ground.real else None
    if found is None or stat.S_ISLNK(found.st_mode):
        place = inside(ground.top, path)
        found = os.lstat(place)
        if place.parent == ground.top / folder:
            ground.real.add(folder)
    if not stat.S_ISREG(found.st_mode):
        raise Unusable("it is no regular file")
    return place, found


def _shown(ground: _Ground, contents: _Contents, stem: str, sidecar: Sidecar) -> list[Picture]:
    """Return the pictures that the sidecar names; where it names none, those beside the file."""
    if sidecar.renderings is not None:
        return [replace(one, path=_join(contents.folder, one.path)) for one in sidecar.renderings]
    wanted = (f"{stem}{middle}{suffix}" for middle in ("", ".preview") for suffix in PICTURES)
    names = [name for plain in wanted for name in contents.names.get(plain, ())]
    below = _join(contents.folder, stem)
    if below in ground.real:
        found = os.listdir(os.path.join(ground.top, below))
        names += [f"{stem}/{name}" for name in sorted(found) if is_picture(name)]
    return [Picture(path=_join(contents.folder, name)) for name in names]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _named(folder: str, name: str) -> str:
    """Return a path as problems name it: whole where it is safe."""
    path = _join(folder, name)
    return f"'{path}'" if is_safe(path) else glimpse(path)
