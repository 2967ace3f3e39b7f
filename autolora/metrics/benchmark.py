"""A retrieval benchmark: a pool, its texts, and queries with their relevant adapters at each level.

autolora/metrics/methods.py has the methods that score the pool.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from autolora.matching.hybrid import CaptionRule
from autolora.matching.words import split_words
from autolora.metrics.bm25 import WordCounts
from autolora.metrics.retrieval import Relevant
from autolora.storage.arrays import Float64Array, Int64Array

Content = TypeVar("Content")
Texts = Literal["captions", "metadata"]
"""captions of the renderings; or id, file name, trigger words and the prompts that the hub lists with renderings"""


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
    renderings: Int64Array
    """(N,) number of each adapter's renderings with captions"""


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Training adapters (T,) by their captions and by their weights: from a text to weights without an encoder."""

    adapters: tuple[str, ...]
    """sha256"""
    captions: Float64Array
    """(T, d), unit mean text embeddings"""
    components: Float64Array
    """(T, c), as `Benchmark.components`"""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A pool of adapters, its captions, queries with their relevant adapters, and judged themes."""

    adapters: tuple[str, ...]
    """sha256 of the pool (N,)"""
    adapter_vectors: NDArray[np.floating]
    """(N, d), of the weights; the length of a row counts in the hybrid only"""
    captions: CaptionSums
    """of every caption of the pool"""
    words: Mapping[Texts, WordCounts]
    """of the texts about each adapter"""
    components: Float64Array
    """(N, c), unit principal components of the weights, without an encoder"""
    anchors: Anchors
    """of the adapters that the encoder was trained on"""
    queries: tuple[Query, ...]
    query_vectors: NDArray[np.floating]
    """(Q, d), unit rows"""
    themes: dict[str, str]
    """adapter sha256 -> theme; empty without judgments"""
    training: frozenset[str]
    """sha256 of the adapters that the encoder was trained on"""
    rule: CaptionRule | None
    """by which the index combines weights and captions; None: it holds the weights alone"""

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
    renderings = np.zeros(shape[0], dtype=np.int64)
    for (adapter, image), group in groupby(captions, lambda caption: (caption.adapter, caption.image)):
        total = np.zeros(shape[1])
        for caption in group:
            total += caption.vector
        by_adapter[adapter] += total
        renderings[adapter] += 1
        if image in images:
            by_rendering[adapter, image] = by_rendering.get((adapter, image), 0.0) + total
    return CaptionSums(by_adapter, by_rendering, renderings)


def unseen_index(benchmark: Benchmark) -> Benchmark:
    """Return the benchmark of the adapters alone that the encoder was not trained on, with the queries about them.

    In the whole index a training adapter of the right theme may be found in place of the query's own adapter.
    """
    kept = [
        position for position, sha256 in enumerate(benchmark.adapters) if sha256 not in benchmark.training
    ]
    rows = {position: row for row, position in enumerate(kept)}
    adapters = tuple(benchmark.adapters[position] for position in kept)
    about = [
        row for row, query in enumerate(benchmark.queries) if benchmark.training.isdisjoint(query.adapters)
    ]
    captions = CaptionSums(
        benchmark.captions.by_adapter[kept],
        _renumber(benchmark.captions.by_rendering, rows),
        benchmark.captions.renderings[kept],
    )
    words = {
        name: WordCounts(
            tuple(counts.by_adapter[position] for position in kept), _renumber(counts.by_rendering, rows)
        )
        for name, counts in benchmark.words.items()
    }
    return replace(
        benchmark,
        adapters=adapters,
        adapter_vectors=benchmark.adapter_vectors[kept],
        captions=captions,
        words=words,
        components=benchmark.components[kept],
        queries=tuple(benchmark.queries[row] for row in about),
        query_vectors=benchmark.query_vectors[about],
    )


def relevant_by_level(benchmark: Benchmark) -> dict[str, Relevant]:
    """Return level -> positions of each query's relevant adapters, each once; no theme levels without judgments.

    Levels: `adapter`; `theme`, all adapters of the themes of the query's adapters; `named theme`, those and all of a
    theme that the query names word by word; and `theme` for the queries with a theme of which the encoder was trained
    on an adapter (`seen theme`), and for the others (`absent theme`). A query that does not belong to a level has no
    relevant adapter there.
    """
    positions, themes = benchmark.positions, benchmark.themes
    adapters = [np.unique([positions[sha256] for sha256 in query.adapters]) for query in benchmark.queries]
    if not themes:
        return {"adapter": adapters}
    wanted = [
        {themes[sha256] for sha256 in query.adapters if sha256 in themes} for query in benchmark.queries
    ]
    judged = set(themes.values())
    named = [find_themes(query.text, judged) for query in benchmark.queries]
    trained = {themes[sha256] for sha256 in benchmark.training if sha256 in themes}
    is_seen = [not trained.isdisjoint(group) for group in wanted]
    none = np.empty(0, dtype=np.int64)
    of_theme = _of_themes(benchmark, wanted)
    return {
        "adapter": adapters,
        "theme": of_theme,
        "named theme": _of_themes(
            benchmark, [own and own | also for own, also in zip(wanted, named, strict=True)]
        ),
        "seen theme": [group if seen else none for group, seen in zip(of_theme, is_seen, strict=True)],
        "absent theme": [none if seen else group for group, seen in zip(of_theme, is_seen, strict=True)],
    }


def find_themes(text: str, themes: Collection[str]) -> set[str]:
    """Return the themes that a text names word by word, in any case: `a Cat` names `cat`, `cats` does not."""
    names = {tuple(split_words(theme)): theme for theme in themes}
    words = split_words(text)
    return {
        names[part]
        for length in {len(name) for name in names if name}
        for part in zip(*(words[start:] for start in range(length)), strict=False)
        if part in names
    }


def _of_themes(benchmark: Benchmark, themes: Sequence[Collection[str]]) -> Relevant:
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


def _renumber(
    by_rendering: Mapping[tuple[int, str], Content], rows: Mapping[int, int]
) -> dict[tuple[int, str], Content]:
    """Return what is kept of the renderings of adapters if only the positions `rows` are, with their new positions."""
    return {
        (rows[position], image): content
        for (position, image), content in by_rendering.items()
        if position in rows
    }
