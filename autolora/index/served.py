"""The index that searches read: immutable copies in cache/index/<content digest>/, one of which is released.

Searches read copies only, because the stage `index` may be writing the working index. A copy is made once, by the
release or by the first search that needs it, and each of its rows is checked. cache/served names the content digest
of the released index. Of any index, adapters that data/takedowns.jsonl lists by now are left out when it is opened.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from autolora.catalog import takedowns
from autolora.errors import MissingArtifact
from autolora.extras import check_installed, libraries_for
from autolora.index.content import IncompleteIndexError, make_copy
from autolora.index.copies import Index, Rows, is_copy, map_columns, open_copy
from autolora.index.store import content_digest, is_readable
from autolora.index.store import folder as working_folder
from autolora.storage.arrow_values import read_flags, text_array
from autolora.storage.files import write_atomic
from autolora.storage.git import Commit, history, read_committed
from autolora.storage.incremental import digest_path
from autolora.storage.validation import SHA256

MAX_ATTEMPTS, MAX_ATTEMPTS_WITHOUT_FOLDER = 120, 12
"""number of attempts to open the working index: a stage may write it for long, DVC replaces its folder in seconds"""
RETRY_DELAY_S = 0.25
DIGEST = "digests/index.json"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Revision:
    """A commit that changed the index."""

    commit: Commit
    index: str
    """content digest"""
    rows: int
    """number of adapters"""


def open_index(root: Path, rev: str | None = None) -> Index:
    """Return the index of a git revision; without one the released index, or the working index if none is released.

    It lacks the adapters that the list of the working tree takes down. Raises MissingArtifact if the index or the
    revision does not exist, or the list is damaged.
    """
    index = _open_served(root) if rev is None else _open_revision(root, rev)
    return without(index, takedowns.read(root).weights)


def without(index: Index, adapters: Collection[str]) -> Index:
    """Return an index without the rows of adapters, named by their sha256; itself if it has none of them.

    The digest stays: it names the copy.
    """
    if not adapters:
        return index
    kept = pc.invert(pc.is_in(index.rows.columns.column("sha256"), value_set=text_array(adapters)))
    mask = read_flags(kept)
    if mask.all():
        return index
    return replace(
        index,
        weights_vectors=index.weights_vectors[mask],
        captions_vectors=None if index.captions_vectors is None else index.captions_vectors[mask],
        texts_vectors=None if index.texts_vectors is None else index.texts_vectors[mask],
        whole_texts_vectors=None if index.whole_texts_vectors is None else index.whole_texts_vectors[mask],
        rows=Rows(index.rows.columns.filter(kept)),
    )


def num_left_out(root: Path, index: Index) -> int:
    """Return the number of rows that the copy of an opened index has, and that the index lacks as taken down."""
    return len(map_columns(copy_path(root, index.digest))) - len(index.rows)


def _open_served(root: Path) -> Index:
    """Return the released index, or the working index; wait while a stage writes it."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            return _open_released(root)
        except IncompleteIndexError as error:
            logger.info("%s; attempt %d of %d", error, attempt + 1, MAX_ATTEMPTS)
        if attempt >= MAX_ATTEMPTS_WITHOUT_FOLDER and not working_folder(root).exists():
            raise _no_index(root)
        time.sleep(RETRY_DELAY_S)
    raise MissingArtifact(
        f"{working_folder(root)} does not match digests/index.json: the stage 'index' is running or was "
        "interrupted; try again, or run `dvc repro index`"
    )


def served_digest(root: Path) -> str | None:
    """Return the digest of the released index; None if none is released. Raises MissingArtifact if it is damaged."""
    try:
        digest = served_path(root).read_text(errors="replace").strip()
    except FileNotFoundError:
        return None
    if not SHA256.fullmatch(digest):  # it becomes a part of paths
        raise MissingArtifact(
            f"{served_path(root)} is damaged, expected 64 hex digits: delete it, and searches read the working index "
            "until a refresh releases one; or serve a release (`autolora versions rollback RELEASE`)"
        )
    return digest


def former_digest(root: Path) -> str | None:
    """Return the digest that the next release replaces; None if none is released, or cache/served is damaged."""
    try:
        return served_digest(root)
    except MissingArtifact:
        return None


def release(root: Path | str, digest: str) -> None:
    """Make searches use this index: make its copy, then replace cache/served atomically.

    Raises MissingArtifact if neither a copy nor the working index has that digest.
    """
    root = Path(root)
    try:
        _ensure_copy(root, digest, working_folder(root))
    except IncompleteIndexError as error:
        raise MissingArtifact(
            f"index {digest} has no copy in cache/index and differs from the working index: serve the release that "
            "contains it (`autolora versions rollback RELEASE`)"
        ) from error
    write_atomic(served_path(root), digest + "\n")
    logger.info("serving index %s", digest)


def open_copy_of(root: Path, digest: str) -> Index:
    """Return the index with this digest, from its copy or from the working index, of which the copy is made.

    All of its rows, as the gate checks them. Raises IncompleteIndexError if neither holds it.
    """
    return open_copy(_ensure_copy(root, digest, working_folder(root)), digest)


def open_released(root: Path, digest: str) -> Index:
    """Return the index with this digest, from its copy, the working index, or the commit that contains it.

    Raises MissingArtifact if none of them has it.
    """
    try:
        return open_copy_of(root, digest)
    except IncompleteIndexError as error:
        sha = commit_of(root, digest)
        if sha is None:
            raise MissingArtifact(
                f"index {digest[:12]} has no copy in cache/index that this version of AutoLoRA can read, the working "
                "index is another one, and no commit has it: delete cache/served, and searches read the working index "
                "until a refresh releases one; or serve a release (`autolora versions rollback RELEASE`)"
            ) from error
    return _open_revision(root, sha)


def copy_path(root: Path, digest: str) -> Path:
    """Return the folder of the immutable copy of an index."""
    return copies_folder(root) / digest


def copies_folder(root: Path) -> Path:
    """Return the folder of the copies."""
    return root / "cache" / "index"


def served_path(root: Path) -> Path:
    """Return the path of the file that names the released index."""
    return root / "cache" / "served"


def _open_released(root: Path) -> Index:
    released = served_digest(root)
    if released is None:
        return open_copy_of(root, _working_digest(root))
    try:
        return open_copy_of(root, released)
    except IncompleteIndexError:
        if released == _working_digest(root):
            raise
    return open_released(root, released)


def _working_digest(root: Path) -> str:
    """Return the content digest in digests/index.json, which is missing for a moment while git or DVC replaces it."""
    try:
        return content_digest(root)
    except (ValueError, KeyError) as error:
        raise IncompleteIndexError("digests/index.json is being replaced") from error
    except MissingArtifact as error:
        missing = not digest_path(root, "index").exists()
        if missing and copies_folder(root).exists():  # an index existed before, so the stage has run
            raise IncompleteIndexError("digests/index.json is being replaced") from error
        if missing:
            raise _no_index(root) from error
        raise


def _no_index(root: Path) -> MissingArtifact:
    return MissingArtifact(
        f"{working_folder(root)} does not exist: there is no index yet; run `autolora index FOLDER` for your own "
        "files, `dvc repro` in a pipeline (a hub or a DVC remote must provide the adapters), or `make demo` for the "
        "playground"
    )


def _open_revision(root: Path, rev: str) -> Index:
    stated = _read_revision(root, rev)
    if not is_readable(stated):
        raise MissingArtifact(
            f"the index of revision '{rev}' has another layout: another version of AutoLoRA wrote it; search it with "
            "the code of that revision, or give a later one that `autolora versions` lists"
        )
    digest = stated["content"]
    if not is_copy(copy_path(root, digest)):
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
    return open_copy(copy_path(root, digest), digest)


def _read_revision(root: Path, rev: str) -> dict[str, Any]:
    """Return digests/index.json of a revision."""
    stated: dict[str, Any] = json.loads(read_committed(root, rev, DIGEST))
    return stated


def readable_revisions(root: Path) -> list[Revision]:
    """Return the commits that changed the index and whose index this version of AutoLoRA can read, newest first."""
    stated = ((commit, _read_revision(root, commit.sha)) for commit in history(root, DIGEST))
    return [
        Revision(commit, digest["content"], digest["rows"])
        for commit, digest in stated
        if is_readable(digest)
    ]


def commit_of(root: Path, digest: str) -> str | None:
    """Return the newest commit whose index has this digest; None if there is none that can be read."""
    return next((row.commit.sha for row in readable_revisions(root) if row.index == digest), None)


def fetch_revision(root: Path, rev: str, target: Path) -> None:
    """Fetch data/index of a revision from DVC's cache or remote; the working tree stays as it is.

    Raises MissingArtifact if neither contains it, MissingLibrary if DVC is not installed.
    """
    check_installed(f"fetching data/index of revision '{rev}'", "dvc")
    command = [sys.executable, "-m", "dvc", "get", str(root), "data/index", "--rev", rev, "-o", str(target)]
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0"}
    completed = subprocess.run(command, capture_output=True, text=True, env=environment)
    if completed.returncode:
        raise MissingArtifact(
            f"DVC cannot fetch data/index of revision '{rev}': {_failure_reason(completed.stderr)}: add a remote that "
            "contains it (`dvc remote add`), or choose a revision that `autolora versions` marks as at hand"
        )


def _failure_reason(output: str) -> str:
    """Return why `dvc get` failed, in words."""
    if "No such file or directory" in output or "missing cache files" in output:
        return "neither DVC's cache nor a remote contains it"
    reasons = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    return (
        reasons[-1].removeprefix("ERROR: ").removeprefix("unexpected error - ")
        if reasons
        else "no reason given"
    )


def _ensure_copy(root: Path, digest: str, source: Path) -> Path:
    """Return the folder of the copy of an index; make the copy from `source` if it is missing.

    Raises IncompleteIndexError if `source` does not hold that index, MissingLibrary if Lance is not installed.
    """
    path = copy_path(root, digest)
    if not is_copy(path):
        with libraries_for(f"index {digest[:12]} has no copy in cache/index, and reading it from {source}"):
            make_copy(path, digest, source)
    return path
