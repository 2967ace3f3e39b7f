"""The scan of a folder hub: its LoRA files with their sidecars and images, and the files that are unusable.

Resolving every path would be slow. A path is therefore used as it is, with a single lstat, if its folder was
reached without a symbolic link; only links and paths behind links are resolved and checked.
"""

import io
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from autolora.hubs.folder.sidecar import MAX_SIDECAR_BYTES, SIDECARS
from autolora.hubs.folder.sidecar_fields import Sidecar, SidecarImage, merge
from autolora.hubs.validation import (
    IMAGE_SUFFIXES,
    WEIGHTS_SUFFIX,
    is_image,
    is_safe_path,
    is_weights,
    short_repr,
)


class UnusableFile(Exception):
    """A file has an unsafe name or an invalid sidecar, is not a regular file, or leads out of the folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraFile:
    """One file of LoRA weights; paths are relative to the hub's folder, with slashes."""

    path: str
    size: int
    """bytes"""
    changed: float
    """latest modification time of the file, its sidecars and its images, in seconds since 1970"""
    sidecar: Sidecar
    images: tuple[SidecarImage, ...]

    @property
    def id(self) -> str:
        """The file's id in the catalog."""
        return id_of(self.path)


def id_of(path: str) -> str:
    """Return the id of a file: its path, without the suffix if `path_of` can restore it."""
    stem = path.removesuffix(WEIGHTS_SUFFIX)
    return path if is_weights(stem) else stem


def path_of(id: str) -> str:
    """Return the path of the file with an id."""
    return id if is_weights(id) else id + WEIGHTS_SUFFIX


@dataclass(frozen=True, slots=True)
class _Root:
    """The hub's folder during a scan."""

    path: Path
    """with links resolved"""
    link_free: set[str] = field(default_factory=lambda: {""})
    """relative paths of the folders that were reached without a link, including the root itself"""


@dataclass(frozen=True, slots=True)
class _FolderEntries:
    """The names of the direct entries of one folder."""

    folder: str
    weights: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    folder_links: list[str] = field(default_factory=list)
    names: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """name with a lower-case suffix -> actual names"""


def scan_folder(root: Path, max_images: int) -> tuple[list[LoraFile], tuple[str, ...], frozenset[str]]:
    """Return the LoRA files below a folder, one message per problem, and the ids of unusable LoRA files."""
    top, pending = _Root(root.resolve()), [""]
    files: list[LoraFile] = []
    problems: list[str] = []
    unreadable: set[str] = set()
    while pending:
        try:
            entries = _read_folder(top, pending.pop())
        except OSError as error:
            problems.append(f"a folder cannot be read: {error}")
            continue
        children = [_join(entries.folder, name) for name in entries.folders]
        top.link_free.update(children)
        pending += children
        links = (_quoted(entries.folder, name) for name in entries.folder_links)
        problems += [f"{link} is a link to a folder and was skipped" for link in links]
        for name in entries.weights:
            try:
                file, file_problems = _scan_file(top, entries, name, max_images)
            except (UnusableFile, OSError) as error:
                problems.append(f"{_quoted(entries.folder, name)} was skipped: {error}")
                id = id_of(_join(entries.folder, name))
                unreadable |= {id} if is_safe_path(id) else set()
            else:
                files.append(file)
                problems += file_problems
    return files, tuple(problems), frozenset(unreadable)


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
    with _open(resolve_inside(root, path)) as stream:
        yield stream


def _open(path: Path | str) -> io.BufferedReader:
    """Open a regular file without following a link. Raises UnusableFile, OSError."""
    handle = os.open(
        path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    )  # opening a pipe would block otherwise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    raise UnusableFile("it is not a regular file")


def _read_folder(root: _Root, folder: str) -> _FolderEntries:
    """Return the entries of a folder, sorted by name. Raises OSError."""
    entries = _FolderEntries(folder)
    with os.scandir(os.path.join(root.path, folder)) as scanned:
        for entry in sorted(scanned, key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                entries.folders.append(entry.name)
            elif entry.is_symlink() and os.path.isdir(entry.path):
                entries.folder_links.append(entry.name)
            elif is_weights(entry.name):
                entries.weights.append(entry.name)
            stem, dot, suffix = entry.name.rpartition(".")
            entries.names[stem + dot + suffix.lower()].append(entry.name)
    return entries


def _scan_file(
    root: _Root, entries: _FolderEntries, name: str, max_images: int
) -> tuple[LoraFile, tuple[str, ...]]:
    """Return a LoRA file with its sidecar and images, and one message per problem of these.

    Raises UnusableFile or OSError if the file or its sidecar is unusable: an unreadable sidecar might contain
    a field that a rule rejects.
    """
    path, stem = _join(entries.folder, name), name[: -len(WEIGHTS_SUFFIX)]
    if not is_safe_path(_join(entries.folder, stem)):
        raise UnusableFile("its name is not allowed")
    _, status = _stat_file(root, path)
    sidecar, problems, sidecars_changed = _read_sidecars(root, entries, stem)
    changed = max(status.st_mtime, sidecars_changed)
    own = entries.names.get(f"{stem}.json", [name])[0]
    images_listed_by = own if sidecar.renderings is not None else name
    images: list[SidecarImage] = []
    for image in _find_images(root, entries, stem, sidecar):
        if len(images) >= max_images:
            break
        try:
            changed = max(changed, _stat_file(root, image.path)[1].st_mtime)
        except (UnusableFile, OSError) as error:
            problem = f"the image {_quoted('', image.path)} was skipped: {error}"
            problems.append(f"{_quoted(entries.folder, images_listed_by)}: {problem}")
        else:
            images.append(image)
    file = LoraFile(path=path, size=status.st_size, changed=changed, sidecar=sidecar, images=tuple(images))
    return file, tuple(problems)


def _read_sidecars(root: _Root, entries: _FolderEntries, stem: str) -> tuple[Sidecar, list[str], float]:
    """Return all sidecars of a file as one, their problems and their latest modification time.

    Raises UnusableFile, OSError.
    """
    sidecars, problems, changed = [], [], 0.0
    for suffix, parse in SIDECARS.items():
        if names := entries.names.get(f"{stem}{suffix}"):
            text, modified = _read_sidecar(root, entries.folder, names)
            try:
                sidecar, field_problems = parse(text)
            except ValueError as error:
                raise UnusableFile(f"its sidecar {short_repr(names[0])} is not valid: {error}") from error
            sidecars.append(sidecar)
            problems += [f"{_quoted(entries.folder, names[0])}: {problem}" for problem in field_problems]
            changed = max(changed, modified)
    return merge(sidecars), problems, changed


def _read_sidecar(root: _Root, folder: str, names: list[str]) -> tuple[bytes, float]:
    """Return the text of a sidecar and its modification time. Raises UnusableFile, OSError."""
    if len(names) > 1:
        raise UnusableFile(f"it has more than one sidecar: {short_repr(names)}")
    path, status = _stat_file(root, _join(folder, names[0]))
    with _open(path) as stream:
        text = stream.read(MAX_SIDECAR_BYTES + 1)
    if len(text) > MAX_SIDECAR_BYTES:
        raise UnusableFile(f"its sidecar is larger than {MAX_SIDECAR_BYTES} bytes")
    return text, status.st_mtime


def _stat_file(root: _Root, path: str) -> tuple[Path | str, os.stat_result]:
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


def _find_images(root: _Root, entries: _FolderEntries, stem: str, sidecar: Sidecar) -> list[SidecarImage]:
    """Return the images that the sidecar lists; if it has no such list, those whose names match the file."""
    if sidecar.renderings is not None:
        return [replace(image, path=_join(entries.folder, image.path)) for image in sidecar.renderings]
    expected = (f"{stem}{infix}{suffix}" for infix in ("", ".preview") for suffix in IMAGE_SUFFIXES)
    names = [name for lowered in expected for name in entries.names.get(lowered, ())]
    folder = _join(entries.folder, stem)
    if folder in root.link_free:
        children = sorted(os.listdir(os.path.join(root.path, folder)))
        names += [f"{stem}/{name}" for name in children if is_image(name)]
    return [SidecarImage(path=_join(entries.folder, name)) for name in names]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _quoted(folder: str, name: str) -> str:
    """Return a path in quotes for messages; shortened and escaped if it is not safe."""
    path = _join(folder, name)
    return f"'{path}'" if is_safe_path(path) else short_repr(path)
