"""What `python -m bench.retrieval` compares the index with: baselines, finer levels, and an index of unseen adapters.

Baselines: `caption centroid`, the mean text embedding of an adapter's captions; `BM25 of captions` and `BM25 of
metadata`, the words that a text shares with the query; `reciprocal rank fusion` of the first two; `PCA of weights`,
which learns nothing from texts. All that use texts leave out those about the rendering that the query describes, so
that no query meets its own caption.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np

from autolora.dataset import store as dataset
from autolora.evaluation.benchmark import list_captions
from autolora.matching.caption_rule import MIN_LENGTH
from autolora.matching.words import split_words
from autolora.metrics.benchmark import (
    Benchmark,
    CaptionSums,
    positions_of_themes,
    relevant_by_level,
)
from autolora.metrics.comparison import QueryMetrics, chance_metrics
from autolora.metrics.methods import Scores, caption_centroid_scores
from autolora.metrics.retrieval import Relevant
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.tables import read_arrow, to_matrix
from bench.bm25 import Bm25, WordCounts, count_words

COMPONENTS = 64
"""principal components of the fingerprints"""
MIN_COMPONENTS_LENGTH = 1e-12
RANK_OFFSET = 60
"""k of reciprocal rank fusion, at its usual value (Cormack et al. 2009)"""
Content = TypeVar("Content")
Texts = Literal["captions", "metadata"]
"""captions of the renderings; or id, file name, trigger words and the prompts that the hub lists with renderings"""


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Training adapters (T,) by their captions and by their weights: from a text to weights without an encoder."""

    adapters: tuple[str, ...]
    """sha256"""
    captions: Float64Array
    """(T, d), unit mean text embeddings"""
    components: Float64Array
    """(T, c), as `Pool.components`"""


@dataclass(frozen=True, slots=True)
class Pool:
    """A benchmark, and what baselines know about its adapters."""

    benchmark: Benchmark
    training: frozenset[str]
    """sha256 of the adapters that the encoder was trained on"""
    words: Mapping[Texts, WordCounts]
    """of the texts about each adapter"""
    components: Float64Array
    """(N, c), unit principal components of the weights, without an encoder"""
    anchors: Anchors
    """of the training adapters"""


Method = Callable[[Pool], Scores]


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalComponents:
    """The directions in which fingerprints vary most: adapters by their weights, without what is learned from texts."""

    mean: Float32Array
    """(w,)"""
    axes: Float32Array
    """(w, c), orthonormal"""

    @classmethod
    def of(cls, rows: Float32Array) -> Self:
        """Return the COMPONENTS largest of rows (N, w); fewer if N - 1 or w is smaller."""
        mean = rows.mean(axis=0)
        centered = rows - mean
        count = min(COMPONENTS, max(len(rows) - 1, 1), rows.shape[1])
        _, vectors = np.linalg.eigh((centered.T @ centered).astype(np.float64))
        return cls(mean, vectors[:, -count:].astype(np.float32))

    def project(self, rows: Float32Array) -> Float64Array:
        """Return unit rows (N, c): their inner products are cosines of components."""
        projected = ((rows - self.mean) @ self.axes).astype(np.float64)
        unit: Float64Array = projected / np.maximum(
            np.linalg.norm(projected, axis=1, keepdims=True), MIN_COMPONENTS_LENGTH
        )
        return unit


def make_pool(root: Path, benchmark: Benchmark) -> Pool:
    """Return the pool of a benchmark, with the texts and the weights of a repository's dataset."""
    training = frozenset(row.sha256 for row in dataset.training_lock(root).in_split("train"))
    adapters, images = benchmark.adapters, {query.image for query in benchmark.queries}
    texts: dict[Texts, list[tuple[int, str, str]]] = {
        "captions": list_captions(root, adapters),
        "metadata": list_metadata(root, adapters),
    }
    components = weight_components(root, adapters, training)
    return Pool(
        benchmark=benchmark,
        training=training,
        words={name: count_words(rows, len(adapters), images) for name, rows in texts.items()},
        components=components,
        anchors=make_anchors(benchmark, training, components),
    )


def weight_components(root: Path, adapters: Sequence[str], training: Collection[str]) -> Float64Array:
    """Return the principal components (N, c) of the adapters' fingerprints, by those of the training adapters."""
    table = read_arrow(dataset.folder(root), "adapters", ["sha256", "fingerprint"])
    positions = {sha256: row for row, sha256 in enumerate(table.column("sha256").to_pylist())}
    rows = to_matrix(table.column("fingerprint"))[[positions[sha256] for sha256 in adapters]]
    in_training = np.array([sha256 in training for sha256 in adapters])
    return PrincipalComponents.of(rows[in_training] if in_training.any() else rows).project(rows)


def make_anchors(benchmark: Benchmark, training: Collection[str], components: Float64Array) -> Anchors:
    """Return the training adapters of a benchmark that have captions."""
    adapters, sums = benchmark.adapters, benchmark.captions.by_adapter
    lengths = np.linalg.norm(sums, axis=1)
    rows = [row for row, sha256 in enumerate(adapters) if sha256 in training and lengths[row] > MIN_LENGTH]
    return Anchors(tuple(adapters[row] for row in rows), sums[rows] / lengths[rows, None], components[rows])


def list_metadata(root: Path, adapters: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return (position of the adapter, image sha256, text) of what the hub lists about adapters.

    Id, file name and trigger words belong to no image, ""; the prompt of a rendering belongs to it.
    """
    positions = {sha256: position for position, sha256 in enumerate(adapters)}
    texts = [
        (positions[row["sha256"]], "", " ".join((row["id"], row["file"], *row["trigger_words"])))
        for row in dataset.rows(root, "adapters", ("sha256", "id", "file", "trigger_words"))
        if row["sha256"] in positions
    ]
    prompts = dataset.rows(root, "renderings", ("id", "adapter", "image", "prompt"))
    return texts + [
        (positions[row["adapter"]], row["image"], row["prompt"])
        for row in prompts
        if row["prompt"] and row["adapter"] in positions
    ]


def unseen_index(pool: Pool) -> Pool:
    """Return the adapters alone that the encoder was not trained on, with the queries about them.

    In the whole index a training adapter of the right theme may be found in place of the query's own adapter.
    """
    full = pool.benchmark
    kept = [position for position, sha256 in enumerate(full.adapters) if sha256 not in pool.training]
    rows = {position: row for row, position in enumerate(kept)}
    about = [row for row, query in enumerate(full.queries) if pool.training.isdisjoint(query.adapters)]
    benchmark = replace(
        full,
        adapters=tuple(full.adapters[position] for position in kept),
        adapter_vectors=full.adapter_vectors[kept],
        captions=CaptionSums(
            full.captions.by_adapter[kept],
            _renumber(full.captions.by_rendering, rows),
        ),
        queries=tuple(full.queries[row] for row in about),
        query_vectors=full.query_vectors[about],
    )
    words = {
        name: WordCounts(
            tuple(counts.by_adapter[position] for position in kept), _renumber(counts.by_rendering, rows)
        )
        for name, counts in pool.words.items()
    }
    return replace(pool, benchmark=benchmark, words=words, components=pool.components[kept])


def levels(pool: Pool) -> dict[str, Relevant]:
    """Return level -> positions of each query's relevant adapters, each once; no theme levels without judgments.

    Levels: those of the stage `evaluation`; `named theme`, `theme` and all adapters of a theme that the query names
    word by word; and `theme` for the queries with a theme of which the encoder was trained on an adapter
    (`seen theme`), and for the others (`absent theme`).
    """
    benchmark, found = pool.benchmark, relevant_by_level(pool.benchmark)
    if "theme" not in found:
        return found
    themes, none = benchmark.themes, np.empty(0, dtype=np.int64)
    wanted = [
        {themes[sha256] for sha256 in query.adapters if sha256 in themes} for query in benchmark.queries
    ]
    judged = set(themes.values())
    named = [find_themes(query.text, judged) for query in benchmark.queries]
    trained = {themes[sha256] for sha256 in pool.training if sha256 in themes}
    is_seen = [not trained.isdisjoint(group) for group in wanted]
    return found | {
        "named theme": positions_of_themes(
            benchmark, [own and own | also for own, also in zip(wanted, named, strict=True)]
        ),
        "seen theme": [group if seen else none for group, seen in zip(found["theme"], is_seen, strict=True)],
        "absent theme": [
            none if seen else group for group, seen in zip(found["theme"], is_seen, strict=True)
        ],
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


def chance_by_level(pool: Pool, ks: Sequence[int]) -> dict[str, dict[str, QueryMetrics]]:
    """Return level -> `random`, and at the level `adapter` also `random within theme` -> metrics of each query.

    `random within theme` chooses among the adapters of the right theme: no method exceeds it unless it tells adapters
    of one theme apart.
    """
    counts = {
        level: np.array([len(positions) for positions in by_query], dtype=np.int64)
        for level, by_query in levels(pool).items()
    }
    size = len(pool.benchmark.adapters)
    tables = {
        level: {"random": chance_metrics(numbers, np.full_like(numbers, size), ks)}
        for level, numbers in counts.items()
    }
    if "theme" in counts:
        tables["adapter"]["random within theme"] = chance_metrics(counts["adapter"], counts["theme"], ks)
    return tables


def pca_scores(pool: Pool) -> Scores:
    """Return the method that scores adapters by the cosine of principal components of their weights with those of an
    anchor: the training adapter whose captions are nearest to the query. The anchor itself is scored -1.
    """
    benchmark, anchors, components = pool.benchmark, pool.anchors, pool.components.T
    positions = benchmark.positions
    own = np.array([positions.get(sha256, -1) for sha256 in anchors.adapters], dtype=np.int64)

    def score(rows: slice) -> Float64Array:
        queries = np.asarray(benchmark.query_vectors[rows], dtype=np.float64)
        if not len(own):
            return np.full((len(queries), len(benchmark.adapters)), np.nan)
        nearest = (queries @ anchors.captions.T).argmax(axis=1)
        scores: Float64Array = anchors.components[nearest] @ components
        excluded = np.flatnonzero(own[nearest] >= 0)
        scores[excluded, own[nearest][excluded]] = -1.0
        return scores

    return score


def bm25_scores(benchmark: Benchmark, counts: WordCounts) -> Scores:
    """Return the method that scores adapters by BM25 of the query and the words of texts about an adapter.

    Relevant adapters are scored without the texts about the described rendering.
    """
    positions = benchmark.positions
    index = Bm25.of(counts.by_adapter)

    def score(rows: slice) -> Float64Array:
        scores = np.empty((len(benchmark.queries[rows]), len(benchmark.adapters)))
        for row, query in enumerate(benchmark.queries[rows]):
            words = split_words(query.text)
            scores[row] = index.score(words)
            for adapter in (positions[sha256] for sha256 in query.adapters):
                described = counts.by_rendering.get((adapter, query.image))
                if described:
                    others = counts.by_adapter[adapter]
                    remaining = {word: count - described.get(word, 0) for word, count in others.items()}
                    scores[row, adapter] = index.score_document(words, remaining)
        return scores

    return score


def fused_scores(methods: Sequence[Scores]) -> Scores:
    """Return the method that scores adapters by the sum of the reciprocals of their ranks, each with an offset.

    Scores that are undefined put an adapter last.
    """

    def score(rows: slice) -> Float64Array:
        total: Float64Array = np.zeros(())
        for method in methods:
            order = np.argsort(-np.nan_to_num(method(rows), nan=-np.inf), axis=1, kind="stable")
            ranks = np.argsort(order, axis=1, kind="stable") + 1.0
            total = total + 1.0 / (RANK_OFFSET + ranks)
        return total

    return score


def centroid_scores(pool: Pool) -> Scores:
    """Return the method `caption centroid` of the stage `evaluation`."""
    return caption_centroid_scores(pool.benchmark)


def word_scores(pool: Pool) -> Scores:
    """Return the method `BM25 of captions`."""
    return bm25_scores(pool.benchmark, pool.words["captions"])


BASELINES: Mapping[str, Method] = {
    "caption centroid": centroid_scores,
    "BM25 of captions": word_scores,
    "reciprocal rank fusion": lambda pool: fused_scores([word_scores(pool), centroid_scores(pool)]),
    "BM25 of metadata": lambda pool: bm25_scores(pool.benchmark, pool.words["metadata"]),
    "PCA of weights": pca_scores,
}


def _renumber(
    by_rendering: Mapping[tuple[int, str], Content], rows: Mapping[int, int]
) -> dict[tuple[int, str], Content]:
    """Return what is kept of the renderings of adapters if only the positions `rows` are, with their new positions."""
    return {
        (rows[position], image): content
        for (position, image), content in by_rendering.items()
        if position in rows
    }
