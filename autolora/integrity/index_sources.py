"""Where the index of a revision can be taken from on this machine: what `--rev` and a rollback would use."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import yaml

from autolora.errors import MissingArtifact
from autolora.index.copies import is_copy
from autolora.index.served import Revision, copy_path
from autolora.index.store import content_digest, folder
from autolora.integrity.dvc_records import LOADER, LOCK, object_path, read_list
from autolora.storage.git import read_committed

INDEX = "data/index"
COPY, WORKING, CACHE = "a copy", "the working index", "DVC's cache"


def index_sources(root: Path, revisions: Sequence[Revision]) -> Iterator[str | None]:
    """Yield for each revision what holds its index on this machine; None if nothing does.

    Then a remote may hold it, if it was pushed: no remote is asked, because that may take long.
    """
    working = working_digest(root) if folder(root).exists() else None
    for revision in revisions:
        if is_copy(copy_path(root, revision.index)):
            yield COPY
        elif revision.index == working:
            yield WORKING
        else:
            yield CACHE if _is_in_cache(root, revision) else None


def working_digest(root: Path) -> str | None:
    """Return the content digest of the working index; None if the file that states it is missing or damaged."""
    try:
        return content_digest(root)
    except (MissingArtifact, ValueError):
        return None


def _is_in_cache(root: Path, revision: Revision) -> bool:
    """Return whether DVC's cache has all objects of the index of a revision."""
    md5 = _index_md5(root, revision.commit.sha)
    try:
        files = read_list(object_path(root, md5), md5) if md5 else None
    except MissingArtifact:  # DVC is not installed
        return False
    return files is not None and all(object_path(root, file).exists() for file in files.values())


@lru_cache(maxsize=1000)
def _index_md5(root: Path, sha: str) -> str | None:
    """Return the md5 of the index in dvc.lock of a commit, which never changes; None if there is none."""
    try:
        lock = yaml.load(read_committed(root, sha, LOCK), LOADER)
        outputs = lock["stages"]["index"]["outs"]
        return next(str(output["md5"]) for output in outputs if output["path"] == INDEX)
    except (MissingArtifact, yaml.YAMLError, KeyError, TypeError, StopIteration):
        return None
