"""Releases of the index that can be searched beside the served one."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index.copies import check_copy
from autolora.index.served import Revision, copy_path, open_index, readable_revisions
from autolora.retrieval import Retriever
from autolora.storage.git import history
from autolora.web.served import OpenIndex

MAX_OPEN = 4
"""older releases that stay open"""
DIGEST = "digests/index.json"


@dataclass(frozen=True, slots=True)
class Move:
    """An adapter in the results of two releases."""

    sha256: str
    before: int | None
    """its rank in the earlier release, from 1; None if it is not among the results there"""
    after: int | None

    @property
    def words(self) -> str:
        """Return what has become of the adapter."""
        if self.before is None:
            return "new"
        if self.after is None:
            return "gone"
        steps = self.before - self.after
        return "same place" if not steps else f"{'up' if steps > 0 else 'down'} {abs(steps)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """An index that can be compared with another one."""

    commit: str
    """the newest that contains it; empty if none does"""
    index: str
    """content digest"""
    label: str


class Releases:
    """Opens releases by commit; fetching one takes seconds if it is not on this machine, so a few stay open."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._open: OrderedDict[str, OpenIndex] = OrderedDict()
        self._listed: tuple[str, list[Revision]] = ("", [])

    def list(self) -> Sequence[Revision]:
        """Return the releases that this version of AutoLoRA can read, newest first; empty outside a git repository."""
        commits = history(self._root, DIGEST)
        newest = commits[0].sha if commits else ""
        with self._lock:
            if self._listed[0] != newest:
                self._listed = newest, readable_revisions(self._root)
            return self._listed[1]

    def open(self, sha: str, beside: Retriever) -> OpenIndex:
        """Return a release. beside: a retriever whose text encoder is used.

        Raises MissingArtifact if no release has that commit, or its index cannot be fetched.
        """
        if sha not in {revision.commit.sha for revision in self.list()}:
            raise MissingArtifact(f"no release has the commit '{sha}'")
        with self._lock:
            if sha not in self._open:
                retriever = Retriever(open_index(self._root, sha), beside.text_encoder)
                check_copy(copy_path(self._root, retriever.index.digest))
                self._open[sha] = OpenIndex(retriever)
            self._open.move_to_end(sha)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
            return self._open[sha]


def choices(revisions: Sequence[Revision], served: str) -> list[Choice]:
    """Return each index that can be compared once, newest first; first the served one if no commit contains it."""
    newest = {revision.index: revision for revision in reversed(revisions)}
    listed = [
        Choice(revision.commit.sha, revision.index, _label(revision, served))
        for revision in revisions
        if newest[revision.index] is revision
    ]
    uncommitted = Choice("", served, f"served now · {served[:8]}, in no commit")
    return listed if served in newest else [uncommitted, *listed]


def _label(revision: Revision, served: str) -> str:
    parts = (revision.commit.date[:10], f"{revision.rows} adapters", revision.commit.sha[:8])
    return " · ".join((*parts, "served now") if revision.index == served else parts)


def previous(listed: Sequence[Choice], served: str) -> Choice | None:
    """Return the release before the served one; None if there is none."""
    position = [choice.index for choice in listed].index(served)
    return next(iter(listed[position + 1 :]), None)


def compare(before: Sequence[str], after: Sequence[str]) -> dict[str, Move]:
    """Return what has become of each adapter of two results, which name them best first."""
    ranks = [{sha256: rank for rank, sha256 in enumerate(names, 1)} for names in (before, after)]
    return {sha256: Move(sha256, ranks[0].get(sha256), ranks[1].get(sha256)) for sha256 in (*before, *after)}
