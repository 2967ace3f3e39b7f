"""The index that searches read: immutable copies in cache/index/<content digest>/, one of which is released.

Searches read copies only, because the stage `index` may be writing the working index. A copy is made once, by the
release or by the first search that needs it, and each of its rows is checked. cache/served names the content digest
of the released index.
"""

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

from autolora.errors import MissingArtifact
from autolora.index.store import EXACT_COLUMNS, SCHEMA, TABLE, VECTORS, content_digest, hash_vector_row
from autolora.index.store import folder as working_folder
from autolora.index.text_map import TextMap, read_text_map, write_text_map
from autolora.matching.relevance import Relevance
from autolora.storage.arrays import BoolArray, Float32Array
from autolora.storage.files import Row, write_atomic
from autolora.storage.git import read_committed
from autolora.storage.hashes import canonical_json, hash_files, hash_value
from autolora.storage.incremental import digest_of
from autolora.storage.tables import read_arrow, read_table, to_matrix, version_of, write_copy

MAX_ATTEMPTS, MAX_ATTEMPTS_WITHOUT_FOLDER = 120, 12
"""number of attempts to open the working index: a stage may write it for long, DVC replaces its folder in seconds"""
RETRY_DELAY_S = 0.25
ALL_COLUMNS = (*EXACT_COLUMNS, "encoder_weights", *VECTORS, "uses_captions", "exact_hash", "row_hash")
HASHES = "hashes.json"
"""file of a copy: relative path -> sha256 of its other files, which `autolora verify` compares, and its own sha256"""
MAX_VERSIONS_BACK = 50
"""number of the newest table versions that are searched for the wanted digest"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """One immutable index, in memory."""

    digest: str
    """content digest, over all columns and vectors"""
    vectors: Float32Array
    """(N, d), unit vectors"""
    rows: tuple[Row, ...]
    """(N,) the other columns of each vector; sorted by sha256"""
    encoder: str
    """digest of the encoder that computed the vectors"""
    text_encoder: str
    """digest of the text encoder whose features the vectors are compared with"""
    text_map: TextMap
    """from text features to the vectors that adapters are compared with"""
    relevance: Relevance | None
    """from a cosine to the probability that a prompt asks for what an adapter does; None if the encoder was imported"""
    uses_captions: BoolArray
    """(N,) whether a vector contains captions"""


def open_index(root: Path, rev: str | None = None) -> Index:
    """Return the index of a git revision; without one the released index, or the working index if none is released.

    Raises MissingArtifact if the index or the revision does not exist.
    """
    if rev is not None:
        return _open_revision(root, rev)
    for attempt in range(MAX_ATTEMPTS):
        try:
            return _open_served(root)
        except IncompleteIndexError as error:
            logger.info("%s; attempt %d of %d", error, attempt + 1, MAX_ATTEMPTS)
        if attempt >= MAX_ATTEMPTS_WITHOUT_FOLDER and not working_folder(root).exists():
            raise MissingArtifact(
                f"{working_folder(root)} does not exist: there is no index yet; run `dvc repro` (a hub or a DVC "
                "remote must provide the adapters), or `make demo` for the playground"
            )
        time.sleep(RETRY_DELAY_S)
    raise MissingArtifact(
        f"{working_folder(root)} does not match digests/index.json: the stage 'index' is running or was "
        "interrupted; try again, or run `dvc repro index`"
    )


def served_digest(root: Path) -> str | None:
    """Return the digest of the released index; None if none is released."""
    try:
        return served_path(root).read_text().strip()
    except FileNotFoundError:
        return None


def release(root: Path, digest: str) -> None:
    """Make searches use this index: make its copy, then replace cache/served atomically.

    Raises MissingArtifact if neither a copy nor the working index has that digest.
    """
    try:
        _ensure_copy(root, digest, working_folder(root))
    except IncompleteIndexError as error:
        raise MissingArtifact(
            f"index {digest} has no copy in cache/index and differs from the working index: run "
            "`autolora release --rev REV` with a commit that contains it (`autolora versions`)"
        ) from error
    write_atomic(served_path(root), digest + "\n")
    logger.info("serving index %s", digest)


def copy_path(root: Path, digest: str) -> Path:
    """Return the folder of the immutable copy of an index."""
    return copies_folder(root) / digest


class IncompleteIndexError(Exception):
    """A folder does not hold the wanted index: it is being written, or holds another one."""


def copies_folder(root: Path) -> Path:
    """Return the folder of the copies."""
    return root / "cache" / "index"


def served_path(root: Path) -> Path:
    """Return the path of the file that names the released index."""
    return root / "cache" / "served"


def _open_served(root: Path) -> Index:
    released = served_digest(root)
    digest = released or _working_digest(root)
    try:
        return _load(_ensure_copy(root, digest, working_folder(root)), digest)
    except IncompleteIndexError as error:
        if released is None or released == _working_digest(root):
            raise
        raise MissingArtifact(
            f"cache/served names index {released}, which has no copy in cache/index and differs from the working "
            "index: search with the --rev that contains it, or `autolora release` the working index"
        ) from error


def _working_digest(root: Path) -> str:
    """Return the content digest in digests/index.json, which is missing for a moment while git or DVC replaces it."""
    try:
        return content_digest(root)
    except (ValueError, KeyError) as error:
        raise IncompleteIndexError("digests/index.json is being replaced") from error
    except MissingArtifact as error:
        if copies_folder(root).exists():  # an index existed before, so the stage has run
            raise IncompleteIndexError("digests/index.json is being replaced") from error
        raise


def _open_revision(root: Path, rev: str) -> Index:
    stated = json.loads(read_committed(root, rev, "digests/index.json"))
    digest = stated.get("content")
    if digest is None or stated.get("schema") != SCHEMA:
        raise MissingArtifact(
            f"the index of revision '{rev}' has another layout: another version of AutoLoRA wrote it; search it with "
            "the code of that revision, or give a later one that `autolora versions` lists"
        )
    if not copy_path(root, digest).exists():
        with tempfile.TemporaryDirectory() as temporary:
            fetched = Path(temporary) / "index"
            fetch_revision(root, rev, fetched)
            try:
                _ensure_copy(root, digest, fetched)
            except IncompleteIndexError as error:
                raise MissingArtifact(
                    f"in revision '{rev}' data/index does not match digests/index.json: it was committed during a "
                    "run; give another revision (`autolora versions` lists them)"
                ) from error
    return _load(copy_path(root, digest), digest)


def fetch_revision(root: Path, rev: str, target: Path) -> None:
    """Fetch data/index of a revision from DVC's cache or remote; the working tree stays as it is."""
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
        str(target),
    ]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0"}
    completed = subprocess.run(command, capture_output=True, text=True, env=environment)
    if completed.returncode:
        lines = completed.stderr.strip().splitlines() or ["no reason given"]
        reasons = [line for line in lines if "ERROR" in line or "No module" in line]
        reason = (reasons or [line for line in lines if "dvc.org" not in line] or lines)[-1].removeprefix(
            "ERROR: "
        )
        raise MissingArtifact(
            f"DVC cannot fetch data/index of revision '{rev}': {reason}; neither the local DVC cache nor a remote "
            "contains it: add a remote that does (`dvc remote add`), and check that the extra `operate` is installed"
        )


def _ensure_copy(root: Path, digest: str, source: Path) -> Path:
    """Return the folder of the copy of an index; make the copy from `source` if it is missing.

    Raises IncompleteIndexError if `source` does not hold that index.
    """
    path = copy_path(root, digest)
    if not path.exists():
        make_copy(path, digest, source)
    return path


def make_copy(path: Path, digest: str, source: Path) -> None:
    """Write a copy of an index, and the sha256 of each of its files, to the new folder `path`.

    Raises IncompleteIndexError if `source` does not hold that index.
    """
    rows, meta, text_map = read_verified(source, digest)
    with _atomic_folder(path) as folder:
        write_copy(folder, TABLE, rows)
        write_atomic(folder / "meta.json", json.dumps(meta))
        write_text_map(folder, text_map)
        files = hash_files(folder)
        write_atomic(folder / HASHES, canonical_json({"files": files, "sha256": hash_value(files)}))


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on exit, make its files read-only and rename it to `path`.

    If another process has created `path` meanwhile, its folder is used and the temporary one is deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
    try:
        yield folder
        for file in folder.rglob("*"):
            if file.is_file():
                file.chmod(0o444)
        folder.chmod(0o755)
        try:
            folder.rename(path)
        except OSError:
            if not path.exists():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_verified(source: Path, digest: str) -> tuple[pa.Table, dict[str, Any], TextMap]:
    """Return all rows of the version of `source` with this digest, each checked, its meta.json, and its text map.

    Writers only append versions to the table, so the version before an unfinished run is still readable.
    """
    try:
        version = _version_with(source, digest)
        meta, text_map = json.loads((source / "meta.json").read_text()), read_text_map(source)
        rows = read_arrow(source, TABLE, list(ALL_COLUMNS), version)
    except (MissingArtifact, OSError, ValueError) as error:
        raise IncompleteIndexError(f"{source} is being written: {error}") from error
    vectors = zip(*(to_matrix(rows.column(name)) for name in VECTORS), strict=True)
    for row, pair in zip(rows.drop_columns(list(VECTORS)).to_pylist(), vectors, strict=True):
        if hash_vector_row(row | dict(zip(VECTORS, pair, strict=True))) != row["row_hash"]:
            raise IncompleteIndexError(f"{source}: the row of {row['sha256']} does not match its row_hash")
        if row["encoder_weights"] != meta["encoder_weights"]:
            raise IncompleteIndexError(
                f"{source}: the vector of {row['sha256']} was computed with encoder weights "
                f"{row['encoder_weights'][:12]}, but meta.json states {meta['encoder_weights'][:12]}"
            )
    return rows, meta, text_map


def _version_with(source: Path, digest: str) -> int:
    newest = version_of(source, TABLE) or 0
    for version in range(newest, max(0, newest - MAX_VERSIONS_BACK), -1):
        rows = read_table(source, TABLE, ["sha256", "row_hash"], version)
        if digest_of({row["sha256"]: row["row_hash"] for row in rows}, SCHEMA) == digest:
            return version
    raise IncompleteIndexError(f"{source} does not contain index {digest} (yet)")


def _load(folder: Path, digest: str) -> Index:
    meta = json.loads((folder / "meta.json").read_text())
    computed = read_table(folder, TABLE, ["sha256", "uses_captions"])
    return Index(
        digest=digest,
        vectors=to_matrix(read_arrow(folder, TABLE, ["sha256", "vector"]).column("vector")),
        rows=tuple(read_table(folder, TABLE, list(EXACT_COLUMNS))),
        encoder=meta["encoder"],
        text_encoder=meta["text_encoder"],
        text_map=read_text_map(folder),
        relevance=Relevance.from_json(meta["relevance"]) if meta["relevance"] else None,
        uses_captions=np.array([bool(row["uses_captions"]) for row in computed], dtype=np.bool_),
    )
