"""Batches: folders of weights and renderings that entered the pool together, and the list of their members.

New files are collected in the **open batch** data/pool/open/. At the end of a run they become closed batches
data/pool/batches/<date>[-n]/, which never change; a refresh gives each to DVC. data/pool/batches.jsonl, which git
tracks, names the batch of each file, so that paths and membership are known without DVC.
"""

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.storage.files import append_rows, read_rows
from autolora.storage.git import restore_committed

SUFFIXES = {"weights": ".safetensors", "renderings": ".png"}
"""kind of file -> suffix; the kinds are the folders of a batch"""
MAX_ADAPTERS, MAX_IMAGES = 1000, 10_000
"""maximum numbers of files in one batch"""
NAME = re.compile(r"\d{4}-\d\d-\d\d(-\d+)?")

Members = Mapping[str, Mapping[str, str]]
"""kind -> sha256 -> name of the batch"""


def batches_folder(root: Path) -> Path:
    """Return the folder of the closed batches."""
    return root / "data" / "pool" / "batches"


def open_folder(root: Path) -> Path:
    """Return the folder of the open batch, which holds new files until the end of a run."""
    return root / "data" / "pool" / "open"


def list_path(root: Path) -> Path:
    """Return the path of batches.jsonl."""
    return root / "data" / "pool" / "batches.jsonl"


def members(root: Path) -> Members:
    """Return the batch of each file in batches.jsonl. Raises MissingArtifact if a line is damaged."""
    path = list_path(root)
    try:
        status = path.stat()
    except FileNotFoundError:
        return {kind: {} for kind in SUFFIXES}
    return _read_members(str(path), status.st_mtime_ns, status.st_size)


def file_path(root: Path, kind: str, sha256: str) -> Path:
    """Return the path of a file in its batch, or in the open batch if no closed one contains it."""
    batch = members(root)[kind].get(sha256)
    folder = batches_folder(root) / batch if batch else open_folder(root)
    return folder / kind / f"{sha256}{SUFFIXES[kind]}"


def present_files(root: Path, kind: str) -> set[str]:
    """Return the sha256 of all files of a kind on disk, read from the folders and not file by file."""
    folders = [open_folder(root), *(batches_folder(root) / name for name in batch_names(root))]
    return {sha256 for folder in folders for sha256 in _files_in(folder, kind)}


def batch_names(root: Path) -> list[str]:
    """Return the names of the closed batches on disk, sorted."""
    try:
        with os.scandir(batches_folder(root)) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and NAME.fullmatch(entry.name))
    except FileNotFoundError:
        return []


def is_complete(root: Path, name: str) -> bool:
    """Return whether all members of a closed batch are on disk."""
    folder = batches_folder(root) / name
    return all(
        {sha256 for sha256, batch in files.items() if batch == name} <= set(_files_in(folder, kind))
        for kind, files in members(root).items()
    )


def recover(root: Path) -> None:
    """Complete what a killed run left: return unfinished batches to the open one, and list the closed ones.

    Files that it was writing are removed from the open batch.
    A batch on disk that batches.jsonl does not contain was closed by a killed run, or belongs to another revision. If
    batches.jsonl is missing, the committed one is restored, so that files that are downloaded again have their batches.
    """
    restore_committed(root, str(list_path(root).relative_to(root)))
    for temporary in open_folder(root).glob("*/.*"):
        temporary.unlink()
    for folder in sorted(_closing_folder(root).glob("*")):
        for kind in SUFFIXES:
            _move_all(folder / kind, open_folder(root) / kind)
        folder.rmdir()
    if _closing_folder(root).exists():
        _closing_folder(root).rmdir()
    for name in batch_names(root):
        _append(root, name)


def close(
    root: Path, wanted: Mapping[str, Collection[str]], today: date, *, keep_others: bool = False
) -> list[str]:
    """Move the files of the open batch into new closed batches, and return the names of these.

    wanted: kind -> sha256 of the files to keep; the others, leftovers of a killed run, are removed, or stay in the open
    batch.
    """
    if not list_path(root).exists():
        append_rows(list_path(root), [])
    new = {kind: _keep(root, kind, wanted[kind], keep_others) for kind in SUFFIXES}
    parts = max(_parts(new["weights"], MAX_ADAPTERS), _parts(new["renderings"], MAX_IMAGES))
    names = []
    for part in range(parts):
        name, closing = free_name(root, today), _closing_folder(root)
        for kind, files in new.items():
            for sha256 in _slice(files, part, parts):
                _move(open_folder(root), closing / name, kind, sha256)
        batches_folder(root).mkdir(parents=True, exist_ok=True)
        (closing / name).rename(batches_folder(root) / name)
        closing.rmdir()
        _append(root, name)
        names.append(name)
    return names


def remove_open(root: Path) -> None:
    """Remove the folders of an open batch whose files have all been moved to closed ones."""
    for folder in (*(open_folder(root) / kind for kind in SUFFIXES), open_folder(root)):
        _remove_empty(folder)


def free_name(root: Path, today: date) -> str:
    """Return the first of <date>, <date>-2, <date>-3, … that no batch has or had."""
    taken = {batch for files in members(root).values() for batch in files.values()} | set(batch_names(root))
    taken |= {path.name.removesuffix(".dvc") for path in batches_folder(root).glob("*.dvc")}
    name, number = today.isoformat(), 1
    while name in taken:
        number += 1
        name = f"{today.isoformat()}-{number}"
    return name


@lru_cache(maxsize=1)
def _read_members(path: str, modified_ns: int, size: int) -> Members:
    """Read batches.jsonl; modification time and size are part of the cache's key."""
    files: dict[str, dict[str, str]] = {kind: {} for kind in SUFFIXES}
    for number, row in enumerate(read_rows(Path(path)), 1):
        try:
            files[row["kind"]][row["sha256"]] = sys.intern(row["batch"])
        except (KeyError, TypeError) as error:
            raise MissingArtifact(
                f"{path}, line {number} is not a valid row ({error!r}): restore the file with `git checkout`"
            ) from error
    return files


def _files_in(folder: Path, kind: str) -> Iterator[str]:
    """Yield the sha256 of each file of a kind in one batch."""
    suffix = SUFFIXES[kind]
    try:
        with os.scandir(folder / kind) as entries:
            yield from (entry.name.removesuffix(suffix) for entry in entries if entry.name.endswith(suffix))
    except FileNotFoundError:
        return


def _keep(root: Path, kind: str, wanted: Collection[str], keep_others: bool) -> list[str]:
    """Return the sha256 of the wanted files of the open batch, sorted; remove the others unless these stay."""
    kept = []
    for sha256 in sorted(_files_in(open_folder(root), kind)):
        if sha256 in wanted:
            kept.append(sha256)
        elif not keep_others:
            (open_folder(root) / kind / f"{sha256}{SUFFIXES[kind]}").unlink()
    return kept


def _parts(files: Sequence[str], limit: int) -> int:
    return -(-len(files) // limit)


def _slice(files: Sequence[str], part: int, parts: int) -> Sequence[str]:
    """Return one of `parts` slices of nearly equal length."""
    return files[len(files) * part // parts : len(files) * (part + 1) // parts]


def _append(root: Path, name: str) -> None:
    """Append the members of a closed batch that batches.jsonl does not contain yet."""
    folder, listed = batches_folder(root) / name, members(root)
    rows = [
        {"batch": name, "kind": kind, "sha256": sha256}
        for kind in SUFFIXES
        for sha256 in sorted(set(_files_in(folder, kind)) - listed[kind].keys())
    ]
    if rows:
        append_rows(list_path(root), rows)


def _closing_folder(root: Path) -> Path:
    return open_folder(root) / "closing"


def _move(source: Path, target: Path, kind: str, sha256: str) -> None:
    name = f"{sha256}{SUFFIXES[kind]}"
    (target / kind).mkdir(parents=True, exist_ok=True)
    os.rename(source / kind / name, target / kind / name)


def _move_all(source: Path, target: Path) -> None:
    """Move all files of a folder, if it exists, and remove it."""
    if not source.is_dir():
        return
    target.mkdir(parents=True, exist_ok=True)
    for file in list(source.iterdir()):
        file.rename(target / file.name)
    source.rmdir()


def _remove_empty(folder: Path) -> None:
    """Remove a folder if it is empty."""
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
