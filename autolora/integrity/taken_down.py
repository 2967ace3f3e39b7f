"""What was taken down, by the lists of all branches: the list of an older release ends before later takedowns."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autolora.catalog import takedowns
from autolora.catalog.takedowns import Takedown
from autolora.errors import MissingArtifact
from autolora.storage.git import branch_tips, committed_blobs, read_committed


@dataclass(frozen=True, slots=True)
class TakenDown:
    """The names of all content that was taken down."""

    sha256: frozenset[str]
    """of the downloads"""
    md5: frozenset[str]
    """of the objects in DVC's cache"""
    is_list_damaged: bool
    """whether the list of the working tree cannot be read, so that only the committed ones count"""


def read_taken_down(root: Path) -> TakenDown:
    """Return what the working tree, HEAD, or the tip of any local or remote branch lists as taken down.

    Raises MissingArtifact if a committed list is not valid.
    """
    name = str(takedowns.takedowns_path(root).relative_to(root))
    rows = [row for tip in branch_tips(root) for row in _committed_rows(root, tip, name)]
    is_damaged = False
    try:
        rows += takedowns.read(root).rows
    except (MissingArtifact, UnicodeDecodeError):
        is_damaged = True
    return TakenDown(
        sha256=frozenset(row.sha256 for row in rows if row.sha256),
        md5=frozenset(md5 for row in rows for md5 in row.md5),
        is_list_damaged=is_damaged,
    )


@lru_cache(maxsize=1024)
def _committed_rows(root: Path, commit: str, name: str) -> tuple[Takedown, ...]:
    """Return the takedowns of a committed list; none if the commit contains no list."""
    if name not in committed_blobs(root, name, rev=commit):
        return ()
    try:
        text = read_committed(root, commit, name)
        return tuple(Takedown.from_row(json.loads(line)) for line in text.splitlines())
    except (ValueError, KeyError, TypeError) as error:
        raise MissingArtifact(
            f"{name} of commit {commit[:10]}, the tip of a branch, is not a valid list of takedowns ({error!r}): "
            "correct it on that branch, or delete the branch"
        ) from error
