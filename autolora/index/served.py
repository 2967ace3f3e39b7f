"""The index as readers open it: immutable copies, cache/index/<digest>/, and the released one.

A copy is made once and checked row by row against its digest. cache/served names the released digest."""

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autolora.errors import MissingArtifact
from autolora.index.store import EXACT, SCHEMA, TABLE, hash_vector_row
from autolora.index.store import folder as working_folder
from autolora.storage.files import Row, write_atomic
from autolora.storage.git import read_committed
from autolora.storage.incremental import digest_of, read_digest
from autolora.storage.tables import read_arrow, read_table, version_of, write_copy

TRIES, TRIES_WITHOUT_FOLDER = 120, 12
"""a writer takes a while; while DVC replaces the folder it is gone, but not for long"""
PAUSE_S = 0.25
VERSIONS_BACK = 50
"""how many writes ago the wanted state of the working index may lie"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """One immutable index, in memory."""

    digest: str
    vectors: NDArray[np.float32]
    """(N, d), of unit length"""
    rows: tuple[Row, ...]
    """(N,) the columns beside the vectors; sorted by sha256"""
    encoder: str
    """digest of the encoder that made the vectors"""
    text_encoder: str
    """digest of the text encoder they are to be compared with"""
    text_center: NDArray[np.float32]
    """(d,) to be subtracted from a text's features"""


def open_index(root: Path, rev: str | None = None) -> Index:
    """Open the index of a git revision; without one what is served, or the working index if nothing is yet.

    Raises MissingArtifact when there is no such index or revision.
    """
    if rev is not None:
        return _open_revision(root, rev)
    for attempt in range(TRIES):
        try:
            return _open_current(root)
        except _BeingWrittenError as error:
            logger.info("%s; try %d of %d", error, attempt + 1, TRIES)
        if attempt >= TRIES_WITHOUT_FOLDER and not working_folder(root).exists():
            raise MissingArtifact(
                f"{working_folder(root)} does not exist: there is no index here yet; run `dvc repro` (a hub or a DVC "
                "remote must hold the adapters), or `make demo` for the playground"
            )
        time.sleep(PAUSE_S)
    raise MissingArtifact(
        f"{working_folder(root)} does not hold what digests/index.json says: the stage 'index' is at work or "
        "was stopped; try again, or run `dvc repro index`"
    )


def served(root: Path) -> str | None:
    """Return the digest that has been released; None where nothing has been yet."""
    try:
        return _served_path(root).read_text().strip()
    except FileNotFoundError:
        return None


def release(root: Path, digest: str) -> None:
    """Serve this index from now on: the copy is made first, then cache/served is replaced at once.

    Raises MissingArtifact when there is neither a copy of it nor a working index with that digest.
    """
    try:
        _copy(root, digest, working_folder(root))
    except _BeingWrittenError as error:
        raise MissingArtifact(
            f"there is no copy of index {digest} and the working index is another: search with the --rev "
            "that has it first, which makes one"
        ) from error
    write_atomic(_served_path(root), digest + "\n")
    logger.info("serving index %s", digest)


def copy_path(root: Path, digest: str) -> Path:
    """Return where readers find the immutable copy of an index."""
    return root / "cache" / "index" / digest


class _BeingWrittenError(Exception):
    """The working index is not (yet) what was asked for."""


def _served_path(root: Path) -> Path:
    return root / "cache" / "served"


def _open_current(root: Path) -> Index:
    released = served(root)
    digest = released or _working_digest(root)
    try:
        return _load(_copy(root, digest, working_folder(root)), digest)
    except _BeingWrittenError as error:
        if released is None or released == _working_digest(root):
            raise
        raise MissingArtifact(
            f"cache/served names index {released} but its copy is gone and the working index is another: "
            "search with the --rev that has it, or `autolora release` the working one"
        ) from error


def _working_digest(root: Path) -> str:
    """Return what digests/index.json says; while git or DVC replaces it, it may be away for a moment."""
    try:
        return str(read_digest(root, "index")["sha256"])
    except (ValueError, KeyError) as error:
        raise _BeingWrittenError("digests/index.json is being replaced") from error
    except MissingArtifact as error:
        if copy_path(root, "").exists():
            raise _BeingWrittenError("digests/index.json is being replaced") from error
        raise


def _open_revision(root: Path, rev: str) -> Index:
    digest = str(json.loads(read_committed(root, rev, "digests/index.json"))["sha256"])
    if not copy_path(root, digest).exists():
        with tempfile.TemporaryDirectory() as folder:
            fetched = Path(folder) / "index"
            _fetch(root, rev, fetched)
            try:
                _copy(root, digest, fetched)
            except _BeingWrittenError as error:
                raise MissingArtifact(
                    f"in revision '{rev}' digests/index.json and data/index do not belong together: it was "
                    "committed in the middle of a run; name another"
                ) from error
    return _load(copy_path(root, digest), digest)


def _fetch(root: Path, rev: str, place: Path) -> None:
    """Fetch data/index as of a revision from DVC's cache or remote; the working tree is not touched."""
    command = [
        sys.executable,
        "-m",
        "dvc",
        "get",
        "--quiet",
        str(root),
        "data/index",
        "--rev",
        rev,
        "-o",
        str(place),
    ]
    quiet = {"DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **quiet})
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        reason = next((line for line in lines if "ERROR" in line or "No module" in line), lines[-1])
        raise MissingArtifact(
            f"DVC cannot fetch data/index of revision '{rev}': {reason}; it is neither in DVC's cache here nor in a "
            "remote: name one that has it (`dvc remote add`), and see that the extra `operate` is installed"
        )


def _copy(root: Path, digest: str, source: Path) -> Path:
    """Return the copy of an index, made from `source` where it is missing.

    Raises _BeingWrittenError when `source` does not hold that index.
    """
    place = copy_path(root, digest)
    if not place.exists():
        rows, meta = _verified(source, digest)
        with _appearing(place) as folder:
            write_copy(folder, TABLE, rows)
            write_atomic(folder / "meta.json", json.dumps(meta))
    return place


@contextmanager
def _appearing(place: Path) -> Iterator[Path]:
    """Yield a folder that becomes `place`, its files read-only, when all is written; another's is as good."""
    place.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    try:
        yield folder
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        folder.chmod(0o755)
        try:
            folder.rename(place)
        except OSError:
            if not place.exists():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _verified(source: Path, digest: str) -> tuple[pa.Table, dict[str, Any]]:
    """Return all rows of the version of `source` that has this digest, each checked, and its meta.json.

    A writer only adds versions, so the one before its unfinished work is still there.
    """
    try:
        version = _version_with(source, digest)
        meta = json.loads((source / "meta.json").read_text())
        rows = read_arrow(source, TABLE, [*EXACT, "vector", "exact_hash", "row_hash"], version)
    except (MissingArtifact, OSError, ValueError) as error:
        raise _BeingWrittenError(f"{source} is being written: {error}") from error
    for row in rows.to_pylist():
        if hash_vector_row(row) != row["row_hash"] or row["encoder"] != meta["encoder"]:
            raise _BeingWrittenError(f"{source} holds a row of {row['sha256']} that is not what was written")
    return rows, meta


def _version_with(source: Path, digest: str) -> int:
    newest = version_of(source, TABLE) or 0
    for version in range(newest, max(0, newest - VERSIONS_BACK), -1):
        rows = read_table(source, TABLE, ["sha256", "row_hash"], version)
        if digest_of({row["sha256"]: row["row_hash"] for row in rows}, SCHEMA) == digest:
            return version
    raise _BeingWrittenError(f"{source} is not (yet) index {digest}")


def _load(folder: Path, digest: str) -> Index:
    meta = json.loads((folder / "meta.json").read_text())
    vectors = read_arrow(folder, TABLE, ["sha256", "vector"]).column("vector").combine_chunks()
    return Index(
        digest=digest,
        vectors=vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, meta["width"]),
        rows=tuple(read_table(folder, TABLE, list(EXACT))),
        encoder=meta["encoder"],
        text_encoder=meta["text_encoder"],
        text_center=np.asarray(meta["text_center"], dtype=np.float32),
    )
