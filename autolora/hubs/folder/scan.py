"""The scan of a folder hub: its LoRA files with their sidecars and images, and the files that are unusable."""

import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from autolora.errors import ReadingFailed
from autolora.hubs.folder.access import Root, UnusableFile, open_file, stat_file
from autolora.hubs.folder.sidecar import (
    MAX_CARD_BYTES,
    MAX_SIDECAR_BYTES,
    MODEL_CARD,
    SIDECARS,
    parse_model_card,
)
from autolora.hubs.folder.sidecar_fields import Sidecar, SidecarImage, merge
from autolora.hubs.validation import (
    IMAGE_SUFFIXES,
    WEIGHTS_SUFFIX,
    is_image,
    is_safe_path,
    is_weights,
    short_repr,
)
from autolora.storage.files import raising_reading_failed


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
class _FolderEntries:
    """The names of the direct entries of one folder."""

    folder: str
    weights: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    folder_links: list[str] = field(default_factory=list)
    names: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """name with a lower-case suffix -> actual names"""

    @property
    def model_card(self) -> str | None:
        """The name of the folder's model card, if there is one."""
        return MODEL_CARD if MODEL_CARD in self.names.get(MODEL_CARD, ()) else None


def scan_folder(root: Path, max_images: int) -> tuple[list[LoraFile], tuple[str, ...], frozenset[str]]:
    """Return the LoRA files below a folder, one message per problem, and the ids of unusable LoRA files."""
    top, pending = Root(root.resolve()), [""]
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
                with raising_reading_failed(_quoted(entries.folder, name)):
                    file, file_problems = _scan_file(top, entries, name, max_images)
            except (UnusableFile, ReadingFailed) as error:
                problems.append(f"{_quoted(entries.folder, name)} was skipped: {error}")
                id = id_of(_join(entries.folder, name))
                unreadable |= {id} if is_safe_path(id) else set()
            else:
                files.append(file)
                problems += file_problems
    return files, tuple(problems), frozenset(unreadable)


def _read_folder(root: Root, folder: str) -> _FolderEntries:
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
    root: Root, entries: _FolderEntries, name: str, max_images: int
) -> tuple[LoraFile, tuple[str, ...]]:
    """Return a LoRA file with its sidecar and images, and one message per problem of these.

    Raises UnusableFile or OSError if the file or its sidecar is unusable: an unreadable sidecar might contain
    a field that a rule rejects.
    """
    path, stem = _join(entries.folder, name), name[: -len(WEIGHTS_SUFFIX)]
    if not is_safe_path(_join(entries.folder, stem)):
        raise UnusableFile("its name is not allowed")
    _, status = stat_file(root, path)
    sidecar, problems, sidecars_changed = _read_sidecars(root, entries, stem)
    changed = max(status.st_mtime, sidecars_changed)
    own = entries.names.get(f"{stem}.json", [name])[0]
    images_listed_by = own if sidecar.renderings is not None else name
    images: list[SidecarImage] = []
    for image in _find_images(root, entries, stem, sidecar):
        if len(images) >= max_images:
            break
        try:
            changed = max(changed, stat_file(root, image.path)[1].st_mtime)
        except (UnusableFile, OSError) as error:
            problem = f"the image {_quoted('', image.path)} was skipped: {error}"
            problems.append(f"{_quoted(entries.folder, images_listed_by)}: {problem}")
        else:
            images.append(image)
    file = LoraFile(path=path, size=status.st_size, changed=changed, sidecar=sidecar, images=tuple(images))
    return file, tuple(problems)


def _read_sidecars(root: Root, entries: _FolderEntries, stem: str) -> tuple[Sidecar, list[str], float]:
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
    if entries.model_card and len(entries.weights) == 1:
        try:
            sidecar, modified = _read_model_card(root, entries, entries.model_card)
        except (UnusableFile, OSError, ValueError) as error:
            problems.append(f"{_quoted(entries.folder, entries.model_card)} was skipped: {error}")
        else:
            sidecars.append(sidecar)
            changed = max(changed, modified)
    return merge(sidecars), problems, changed


def _read_model_card(root: Root, entries: _FolderEntries, name: str) -> tuple[Sidecar, float]:
    """Return the model card as a sidecar, and its modification time. Raises UnusableFile, OSError, ValueError."""
    path, status = stat_file(root, _join(entries.folder, name))
    with open_file(path) as stream:
        return parse_model_card(stream.read(MAX_CARD_BYTES), _image_paths(root, entries)), status.st_mtime


def _image_paths(root: Root, entries: _FolderEntries) -> frozenset[str]:
    """Return the images in a folder and in its folders, relative to it. Raises OSError."""
    names = [name for spellings in entries.names.values() for name in spellings]
    for folder in entries.folders:
        children = os.listdir(os.path.join(root.path, entries.folder, folder))
        names += [f"{folder}/{name}" for name in children]
    return frozenset(name for name in names if is_image(name) and is_safe_path(name))


def _read_sidecar(root: Root, folder: str, names: list[str]) -> tuple[bytes, float]:
    """Return the text of a sidecar and its modification time. Raises UnusableFile, OSError."""
    if len(names) > 1:
        raise UnusableFile(f"it has more than one sidecar: {short_repr(names)}")
    path, status = stat_file(root, _join(folder, names[0]))
    with open_file(path) as stream:
        text = stream.read(MAX_SIDECAR_BYTES + 1)
    if len(text) > MAX_SIDECAR_BYTES:
        raise UnusableFile(f"its sidecar is larger than {MAX_SIDECAR_BYTES} bytes")
    return text, status.st_mtime


def _find_images(root: Root, entries: _FolderEntries, stem: str, sidecar: Sidecar) -> list[SidecarImage]:
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
