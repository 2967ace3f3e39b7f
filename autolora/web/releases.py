"""Releases of the index that can be searched beside the served one."""

import threading
from collections import OrderedDict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index.copies import check_copy
from autolora.index.served import Revision, copy_path, open_index, readable_revisions
from autolora.integrity.index_sources import index_sources
from autolora.search.retriever import Retriever
from autolora.storage.git import history
from autolora.web.served import OpenIndex, erased_adapters

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
    limit: int | None
    """number of results of each release if both indexes contain it; None if it is in one of them only"""

    @property
    def words(self) -> str:
        """Return what has become of the adapter."""
        if self.before is None:
            return f"was not in the first {self.limit}" if self.limit else "new"
        if self.after is None:
            return f"no longer in the first {self.limit}" if self.limit else "gone"
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

    def at_hand(self) -> Sequence[Revision]:
        """Return the releases that can be opened without a network: the newest commit of each index, newest first."""
        newest = {revision.index: revision for revision in reversed(self.list())}
        revisions = [revision for revision in self.list() if newest[revision.index] is revision]
        sources = index_sources(self._root, revisions)
        return [revision for revision, source in zip(revisions, sources, strict=True) if source]

    def open(self, sha: str, beside: Retriever) -> OpenIndex:
        """Return a release. beside: a retriever whose text encoder and settings are used.

        Raises MissingArtifact if no release has that commit, or its index cannot be fetched.
        """
        if sha not in {revision.commit.sha for revision in self.list()}:
            raise MissingArtifact(f"no release has the commit '{sha}'")
        with self._lock:
            if sha not in self._open:
                retriever = beside.with_index(open_index(self._root, sha))
                check_copy(copy_path(self._root, retriever.index.digest))
                self._open[sha] = OpenIndex(retriever)
            self._open.move_to_end(sha)
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
            self._open[sha] = self._open[sha].without(erased_adapters(self._root))
            return self._open[sha]


def choices(revisions: Sequence[Revision], served: str) -> list[Choice]:
    """Return the indexes of revisions as choices; first the served one if no commit contains it."""
    listed = [Choice(revision.commit.sha, revision.index, _label(revision, served)) for revision in revisions]
    uncommitted = Choice("", served, f"served now · {served[:8]}, in no commit")
    return listed if any(choice.index == served for choice in listed) else [uncommitted, *listed]


def _label(revision: Revision, served: str) -> str:
    parts = (revision.commit.date[:10], f"{revision.rows} adapters", revision.commit.sha[:8])
    return " · ".join((*parts, "served now") if revision.index == served else parts)


def previous(listed: Sequence[Choice], served: str) -> Choice | None:
    """Return the release before the served one; None if there is none."""
    position = [choice.index for choice in listed].index(served)
    return next(iter(listed[position + 1 :]), None)


def compare(
    before: Sequence[str], after: Sequence[str], in_both: Container[str], limit: int
) -> dict[str, Move]:
    """Return what has become of each adapter of two results, which name at most `limit` adapters, best first.

    in_both: the adapters that the indexes of both releases contain.
    """
    ranks = [{sha256: rank for rank, sha256 in enumerate(names, 1)} for names in (before, after)]
    return {
        sha256: Move(sha256, ranks[0].get(sha256), ranks[1].get(sha256), limit if sha256 in in_both else None)
        for sha256 in (*before, *after)
    }
