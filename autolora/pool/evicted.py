"""Evicted batches: closed batches that lie in DVC's remote only, and their files that are fetched when they are read.

A batch is evicted if `storage.keep_local_gb` is set, its .dvc file is there, and its folder is not: flows/evict.py
removes folders, and a clone need not pull them. A file that is needed is fetched to cache/fetched/, of which the last
used ones stay. The time of a file in cache/batches/ is that of the last use of a batch.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from autolora.catalog import takedowns
from autolora.errors import DiskFull, MissingArtifact
from autolora.extras import check_installed
from autolora.params import load
from autolora.pool.batches import (
    NAME,
    SUFFIXES,
    batches_folder,
    file_path,
    members,
    present_files,
)
from autolora.storage.files import GB

TAKEDOWN_KINDS = {"weights": "weights", "renderings": "rendering"}
"""kind of a file -> kind of its takedown"""
FETCHED_SHARE = 0.25
"""of storage.keep_local_gb, for single files of evicted batches; the rest is for whole batches"""
PROCESSES = threading.BoundedSemaphore(os.cpu_count() or 1)
"""of the processes that fetch: each imports DVC, and a page asks for many images at once"""
DISK_FULL = 3
"""exit status of flows.fetch if this disk is full"""
IN_USE_S = 60
"""seconds after its last use in which neither a file nor a batch is removed: a reader may be about to open it"""


def limit_bytes(root: Path) -> float | None:
    """Return storage.keep_local_gb in bytes; None if nothing is evicted."""
    path = root / "params.yaml"
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return _read_limit(path, status.st_mtime_ns, status.st_size)


def is_evicted(root: Path, batch: str) -> bool:
    """Return whether a closed batch lies in the remote only."""
    folder = batches_folder(root) / batch
    return not folder.exists() and _dvc_file(folder).exists() and limit_bytes(root) is not None


def evicted_batches(root: Path) -> list[str]:
    """Return the names of the evicted batches, sorted."""
    return [] if limit_bytes(root) is None else absent_batches(root)


def absent_batches(root: Path) -> list[str]:
    """Return the names of the closed batches that have a .dvc file and no folder, sorted."""
    names = (path.name.removesuffix(".dvc") for path in batches_folder(root).glob("*.dvc"))
    return sorted(
        name for name in names if NAME.fullmatch(name) and not (batches_folder(root) / name).exists()
    )


def stored_files(root: Path, kind: str) -> set[str]:
    """Return the sha256 of all files of a kind that the pool has, on disk or in the remote only."""
    evicted = {*evicted_batches(root)}
    remote = {sha256 for sha256, batch in members(root)[kind].items() if batch in evicted} if evicted else ()
    return present_files(root, kind) | {*remote}


def is_remote_only(root: Path, kind: str, sha256: str) -> bool:
    """Return whether a file lies in an evicted batch, whether it has been fetched or not."""
    batch = members(root)[kind].get(sha256)
    return batch is not None and is_evicted(root, batch)


def has_content(root: Path, kind: str, sha256: str) -> bool:
    """Return whether the pool has a file; that of one that was taken down is empty. Fetches nothing."""
    if is_remote_only(root, kind, sha256):
        return not takedowns.read(root).lists(TAKEDOWN_KINDS[kind], sha256)
    path = file_path(root, kind, sha256)
    return path.exists() and path.stat().st_size > 0


def local_path(root: Path, kind: str, sha256: str) -> Path:
    """Return the path from which a file is read, after it was fetched if its batch is evicted.

    Raises MissingArtifact if it cannot be fetched.
    """
    batch = members(root)[kind].get(sha256)
    if batch is not None:
        _mark_used(root, batch)  # first, so that it is not evicted after the next line
    if batch is not None and is_evicted(root, batch):
        fetch(root, kind, [sha256])
        return fetched_path(root, kind, sha256)
    return file_path(root, kind, sha256)


def fetch(root: Path, kind: str, files: Iterable[str]) -> None:
    """Fetch those files (sha256) that lie in evicted batches and are not here, in one process.

    Raises MissingArtifact if one of them cannot be fetched, DiskFull.
    """
    evicted = [sha256 for sha256 in files if is_remote_only(root, kind, sha256)]
    if not evicted:
        return
    with PROCESSES:
        wanted: dict[str, Path] = {}
        for sha256 in evicted:
            path = fetched_path(root, kind, sha256)
            try:
                os.utime(path)
            except FileNotFoundError:
                wanted[file_path(root, kind, sha256).relative_to(root).as_posix()] = path
        if not wanted:
            return
        _fetch(root, wanted)
    taken = takedowns.read(root)
    for sha256 in evicted:
        if taken.lists(TAKEDOWN_KINDS[kind], sha256):  # perhaps since the file was asked for
            fetched_path(root, kind, sha256).write_bytes(b"")
    _remove_least_used(root)


def fetched_folder(root: Path) -> Path:
    """Return the folder of the files that were fetched from the remote."""
    return root / "cache" / "fetched"


def fetched_path(root: Path, kind: str, sha256: str) -> Path:
    """Return the path of a file that was fetched, or will be."""
    return fetched_folder(root) / kind / f"{sha256}{SUFFIXES[kind]}"


def fetched_files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files that were fetched from the remote, with their states."""
    for path in fetched_folder(root).glob("*/*"):
        with suppress(FileNotFoundError):
            yield path, path.stat()


def last_use(root: Path, batch: str) -> float:
    """Return the time of the last use of a batch on disk, in seconds: at least that of its folder."""
    paths = (_marker(root, batch), batches_folder(root) / batch)
    return max((path.stat().st_mtime for path in paths if path.exists()), default=0.0)


def is_in_use(root: Path, batch: str) -> bool:
    """Return whether a file of a batch on disk was used just now."""
    marker = _marker(root, batch)
    return marker.exists() and marker.stat().st_mtime > time.time() - IN_USE_S


def _mark_used(root: Path, batch: str) -> None:
    """Record that a file of a batch is used; without effect if nothing is evicted, or in a read-only folder."""
    if limit_bytes(root) is not None:
        with suppress(OSError):
            _marker(root, batch).parent.mkdir(parents=True, exist_ok=True)
            _marker(root, batch).touch()


def _marker(root: Path, batch: str) -> Path:
    return root / "cache" / "batches" / batch


def _fetch(root: Path, wanted: dict[str, Path]) -> None:
    """Fetch files of the project to other paths, by flows/fetch.py: this package imports no DVC."""
    check_installed(f"fetching {min(wanted)}", "dvc")
    command = [sys.executable, "-m", "flows.fetch"]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    given = json.dumps({name: str(path.absolute()) for name, path in wanted.items()})
    done = subprocess.run(command, cwd=root, env=environment, input=given, capture_output=True, text=True)
    if done.returncode == DISK_FULL:
        raise DiskFull(
            f"{min(wanted)} lies in DVC's remote only and could not be fetched, since the disk of "
            f"{fetched_folder(root)} is full: free some space"
        )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingArtifact(
            f"{min(wanted)} lies in DVC's remote only, because its batch was evicted (storage.keep_local_gb), and "
            f"could not be fetched ({reason}): `autolora doctor` checks the remote, and `autolora verify` what it has; "
            "try again when it answers"
        )


def _remove_least_used(root: Path) -> None:
    """Remove fetched files, the least recently used first, until their share of the disk holds the others."""
    used = sorted((status.st_mtime, status.st_size, path) for path, status in fetched_files(root))
    excess = sum(size for _, size, _ in used) - FETCHED_SHARE * (limit_bytes(root) or 0)
    for modified, size, path in used:
        if excess <= 0 or modified > time.time() - IN_USE_S:
            return
        path.unlink(missing_ok=True)
        excess -= size


@lru_cache(maxsize=4)
def _read_limit(path: Path, modified_ns: int, size: int) -> float | None:
    """Read params.yaml; modification time and size are part of the cache's key."""
    limit = load(path).storage.keep_local_gb
    return None if limit is None else limit * GB


def _dvc_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.dvc")
