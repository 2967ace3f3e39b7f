"""A retrieval benchmark: a pool, its captions, and queries with their relevant adapters at each level.

autolora/metrics/methods.py has the methods that score the pool.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from autolora.metrics.retrieval import Relevant
from autolora.storage.arrays import Float64Array


@dataclass(frozen=True, slots=True)
class Query:
    """A caption, the rendering that it describes, and the adapters whose galleries show that rendering."""

    text: str
    image: str
    """sha256 of the rendering"""
    adapters: tuple[str, ...]
    """sha256 of the relevant adapters; the first is the cluster of the bootstrap"""


@dataclass(frozen=True, slots=True)
class EmbeddedCaption:
    """One caption of an adapter in the pool."""

    adapter: int
    """position in the pool"""
    image: str
    """sha256 of the rendering that it describes"""
    vector: NDArray[np.floating]
    """unit text embedding (d,)"""


@dataclass(frozen=True, slots=True, eq=False)
class CaptionSums:
    """Sums of the text embeddings of the pool's captions."""

    by_adapter: Float64Array
    """(N, d), zeros for an adapter without captions"""
    by_rendering: Mapping[tuple[int, str], Float64Array]
    """(position in the pool, image) -> (d,), for the images that queries describe"""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A pool of adapters, its captions, queries with their relevant adapters, and judged themes."""

    adapters: tuple[str, ...]
    """sha256 of the pool (N,)"""
    adapter_vectors: NDArray[np.floating]
    """(N, d), of the weights, of any length"""
    captions: CaptionSums
    """of every caption of the pool"""
    queries: tuple[Query, ...]
    query_vectors: NDArray[np.floating]
    """(Q, d), unit rows"""
    themes: dict[str, str]
    """adapter sha256 -> theme; empty without judgments"""

    @property
    def positions(self) -> dict[str, int]:
        """Return adapter sha256 -> position in the pool."""
        return {sha256: position for position, sha256 in enumerate(self.adapters)}


def sum_captions(
    captions: Iterable[EmbeddedCaption], shape: tuple[int, int], images: Collection[str]
) -> CaptionSums:
    """Return the sums of embedded captions, which are read once, in the order of adapters and their renderings.

    shape: (N, d). images: those that queries describe.
    """
    by_adapter = np.zeros(shape)
    by_rendering: dict[tuple[int, str], Float64Array] = {}
    for (adapter, image), group in groupby(captions, lambda caption: (caption.adapter, caption.image)):
        total = np.zeros(shape[1])
        for caption in group:
            total += caption.vector
        by_adapter[adapter] += total
        if image in images:
            by_rendering[adapter, image] = by_rendering.get((adapter, image), 0.0) + total
    return CaptionSums(by_adapter, by_rendering)


def relevant_by_level(benchmark: Benchmark) -> dict[str, Relevant]:
    """Return level -> positions of each query's relevant adapters, each once.

    Levels: `adapter`; and with judgments `theme`, all adapters of the themes of the query's adapters. A query about an
    adapter without a theme has no relevant adapter there.
    """
    positions, themes = benchmark.positions, benchmark.themes
    levels: dict[str, Relevant] = {
        "adapter": [
            np.unique([positions[sha256] for sha256 in query.adapters]) for query in benchmark.queries
        ]
    }
    if themes:
        wanted = [
            {themes[sha256] for sha256 in query.adapters if sha256 in themes} for query in benchmark.queries
        ]
        levels["theme"] = positions_of_themes(benchmark, wanted)
    return levels


def positions_of_themes(benchmark: Benchmark, themes: Sequence[Collection[str]]) -> Relevant:
    """Return the positions of all adapters of each query's themes."""
    members: dict[str, list[int]] = {}
    for sha256, position in benchmark.positions.items():
        if sha256 in benchmark.themes:
            members.setdefault(benchmark.themes[sha256], []).append(position)
    arrays = {
        group: np.array(
            sorted(position for theme in group for position in members.get(theme, ())), dtype=np.int64
        )
        for group in {frozenset(group) for group in themes}
    }
    return [arrays[frozenset(group)] for group in themes]
