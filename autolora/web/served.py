"""The index that the page searches: the released one, which replaces the former one while the page is running."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from autolora.catalog import takedowns
from autolora.errors import AutoLoraError, MissingArtifact
from autolora.index.copies import check_copy
from autolora.index.served import copy_path, open_index, served_digest, without
from autolora.index.store import content_digest
from autolora.params import Params
from autolora.search.retriever import Retriever, open_retriever
from autolora.storage.arrays import Int64Array

FACETS = ("license", "base", "hub")
"""columns whose values a visitor can choose from"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OpenIndex:
    """One opened index, with what the page derives from it once."""

    retriever: Retriever

    @cached_property
    def newest(self) -> Int64Array:
        """The positions (N,) of all adapters, latest first seen first."""
        days = self.retriever.index.rows.columns.column("first_seen").cast("int32").fill_null(0)
        order: Int64Array = np.argsort(-days.to_numpy(), kind="stable")
        return order

    @cached_property
    def facets(self) -> Mapping[str, list[tuple[str, int]]]:
        """Each column of FACETS with its values and how many adapters have them, most frequent first."""
        return {column: self._count_values(column) for column in FACETS}

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """The position of each adapter, by its sha256."""
        adapters = self.retriever.index.rows.columns.column("sha256").to_pylist()
        return {sha256: position for position, sha256 in enumerate(adapters)}

    def without(self, adapters: frozenset[str]) -> "OpenIndex":
        """Return the index without adapters, named by their sha256; itself if it has none of them."""
        index = without(self.retriever.index, adapters)
        return self if index is self.retriever.index else OpenIndex(self.retriever.with_index(index))

    def _count_values(self, column: str) -> list[tuple[str, int]]:
        counted = pc.value_counts(self.retriever.index.rows.columns.column(column)).to_pylist()
        pairs = [(entry["values"], entry["counts"]) for entry in counted if entry["values"] is not None]
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))


class ServedIndex:
    """The index that requests use; `follow` replaces it after the refresh has released another index."""

    def __init__(self, root: Path, params: Params) -> None:
        self._root, self._params = root, params
        self._opening = threading.Lock()
        self._failed: str | None = None
        self._opened: OpenIndex | None = None
        self._erased: frozenset[str] = frozenset()
        self.problem = "the index is being opened"
        """why there is none"""

    @property
    def current(self) -> OpenIndex | None:
        """The index that requests use, without what was taken down since it was opened; None if there is none."""
        erased = erased_adapters(self._root)
        if erased != self._erased:
            with self._opening:
                self._opened = self._opened and self._opened.without(erased)
                self._erased = erased
        return self._opened

    def follow(self) -> None:
        """Open the released index if it is not the current one; keep the current one if it cannot be opened."""
        digest = released_digest(self._root)
        with self._opening:
            if self._opened is not None and digest in (
                self._opened.retriever.index.digest,
                self._failed,
                None,
            ):
                return
            try:
                self._opened = self._open()
            except AutoLoraError as error:
                if self.problem != str(error):  # without an index, each call tries again
                    logger.warning("the index cannot be opened: %s", error)
                self._failed, self.problem = digest, str(error)

    def _open(self) -> OpenIndex:
        """Open and verify the released index, with the text encoder of the current one if there is one."""
        index = open_index(self._root)
        former = self._opened.retriever if self._opened else None
        if former is not None and former.text_encoder.digest == index.text_encoder:
            retriever = former.with_index(index)
        else:  # a project for one's own files may have got an encoder
            retriever = open_retriever(self._root, params=None if former else self._params)
        check_copy(copy_path(self._root, retriever.index.digest))
        logger.info("searching index %s, %d adapters", retriever.index.digest, len(retriever.index.rows))
        return OpenIndex(retriever)


def erased_adapters(root: Path) -> frozenset[str]:
    """Return the adapters that were taken down; none if the list is damaged, which a search from outside says."""
    try:
        return takedowns.read(root).weights
    except MissingArtifact:
        return frozenset()


def released_digest(root: Path) -> str | None:
    """Return the digest of the index that searches read, or would read; None if there is none."""
    try:
        return served_digest(root) or content_digest(root)
    except (AutoLoraError, ValueError, KeyError):
        return None
