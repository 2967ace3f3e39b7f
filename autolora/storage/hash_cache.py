"""Hashes of files that rarely change, kept between processes: a file is read again only if its state has changed.

A renamed or moved file keeps inode, size and time of modification, so that its hash is known under its new name.
"""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autolora.errors import AutoLoraError
from autolora.storage.files import write_atomic
from autolora.storage.hashes import HashFile, canonical_json, hash_file

MIN_AGE_S = 2
"""seconds; the hash of a file that changed later is not kept, as its next change may have the same time stamp"""

State = list[int]
"""device, inode, size, and times of modification and of change, in ns; no program can set the last one"""

logger = logging.getLogger(__name__)


@contextmanager
def cached_hashes(cache: Path, *, keep_others: bool = False) -> Iterator[HashFile]:
    """Yield a function that returns the sha256 of a file; on exit, keep what it has returned in the file `cache`.

    keep_others: whether other blocks keep hashes of other files in it. If the block is interrupted, the hashes of files
    that it has not come to are kept as well.
    """
    kept = _read(cache)
    by_content = {_without_change(state): sha256 for state, sha256 in kept.values()}
    used: dict[str, tuple[State, str]] = {}

    def hash_one(path: Path) -> str:
        name, state = str(path.resolve()), _state(path)
        kept_state, sha256 = kept.get(name, ([], ""))
        if kept_state != state:
            moved = None if name in kept else by_content.get(_without_change(state))
            sha256 = moved or hash_file(path)
        if _state(path) == state and time.time() - path.stat().st_ctime > MIN_AGE_S:
            used[name] = (state, sha256)
        return sha256

    try:
        yield hash_one
    except BaseException:
        used = kept | used
        raise
    finally:
        if keep_others:
            used = {name: row for name, row in kept.items() if Path(name).exists()} | used
        if used != kept:
            _write(cache, used)


def _state(path: Path) -> State:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _without_change(state: State) -> tuple[int, ...]:
    """Return the part of a state that renaming and moving a file leave as it is."""
    return tuple(state[:-1])


def _read(cache: Path) -> dict[str, tuple[State, str]]:
    """Return name -> state and sha256; empty if the file is missing or damaged, as all can be computed again."""
    try:
        return {name: (state, sha256) for name, (state, sha256) in json.loads(cache.read_bytes()).items()}
    except (OSError, AttributeError, TypeError, ValueError):
        return {}


def _write(cache: Path, hashes: dict[str, tuple[State, str]]) -> None:
    """Write the cache. It saves time only, so a repository that cannot be written is accepted."""
    try:
        write_atomic(cache, canonical_json(hashes))
    except (AutoLoraError, OSError) as error:
        logger.info("hashes are not kept: %s", error)
