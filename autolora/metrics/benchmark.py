"""A retrieval benchmark: queries with their right answers, methods that score the pool, and the tables.

Methods: `encoder` (ours), `caption centroid` (mean CLIP text embedding of an adapter's captions, without
those of the query's own rendering, so nothing sees its own caption), `random` (its exact expectation).
Levels: `adapter` (the one that made the picture) and `theme` (the first adapter of its theme, where judged).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolora.metrics import retrieval
from autolora.metrics.bootstrap import estimate
from autolora.params import EvaluationParams

GALLERY = 8
HITS = 3

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Outcome = dict[str, Floats]
"""metric -> its value for each query (Q,), nan where the query does not count"""


@dataclass(frozen=True, slots=True)
class Query:
    """A caption, the rendering that it describes, and the adapters that made that rendering."""

    text: str
    image: str
    right: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Everything that is scored: a pool, its captions, queries with their answers, and judgments."""

    adapters: tuple[str, ...]
    """sha256 of the pool (N,)"""
    vectors: Floats
    """(N, d), unit rows"""
    captions: tuple[tuple[int, str, Floats], ...]
    """pool position, image sha256, unit text embedding (d,) of every caption in the pool"""
    queries: tuple[Query, ...]
    embedded: Floats
    """the queries' unit text embeddings (Q, d)"""
    themes: dict[str, str]
    """adapter sha256 -> theme; empty without judgments"""

    @property
    def places(self) -> dict[str, int]:
        """Return the position of each adapter in the pool."""
        return {sha256: place for place, sha256 in enumerate(self.adapters)}


def encoder_scores(benchmark: Benchmark) -> Floats:
    """Return the cosine of each query and each adapter's vector: (Q, N)."""
    return benchmark.embedded @ benchmark.vectors.T


def centroid_scores(benchmark: Benchmark) -> Floats:
    """Return the cosine of each query and each adapter's mean caption embedding: (Q, N).

    The adapters that made the query's rendering are scored without the captions of that rendering. A query
    whose own adapter has no others is a row of nan; any other adapter without captions scores -1.
    """
    sums = _caption_sums(benchmark)
    totals = np.zeros_like(benchmark.vectors)
    for (place, _), vector in sums.items():
        totals[place] += vector
    scores: Floats = benchmark.embedded @ _unit(totals).T
    scores[:, ~totals.any(axis=1)] = -1.0
    places = benchmark.places
    for row, query in enumerate(benchmark.queries):
        for own in (places[sha256] for sha256 in query.right):
            rest = totals[own] - sums.get((own, query.image), 0.0)
            known = np.linalg.norm(rest) > 1e-6
            scores[row, own] = benchmark.embedded[row] @ _unit(rest[None])[0] if known else np.nan
    scores[np.isnan(scores).any(axis=1)] = np.nan
    return scores


def right_answers(benchmark: Benchmark) -> dict[str, Bools]:
    """Return by level which adapters are right for which query (Q, N); no theme level without judgments."""
    places, themes = benchmark.places, benchmark.themes
    members: dict[str, list[int]] = {}
    for sha256, place in places.items():
        members.setdefault(themes.get(sha256, sha256), []).append(place)
    levels = {"adapter": np.zeros((len(benchmark.queries), len(places)), dtype=np.bool_)}
    if themes:
        levels["theme"] = np.zeros_like(levels["adapter"])
    for row, query in enumerate(benchmark.queries):
        for sha256 in query.right:
            levels["adapter"][row, places[sha256]] = True
            if sha256 in themes:
                levels["theme"][row, members[themes[sha256]]] = True
    return levels


def outcome(scores: Floats, right: Bools, ks: Sequence[int]) -> Outcome:
    """Measure scores (Q, N) by the right answers (Q, N): each query's R@k and MRR, nan where undefined."""
    counts: Bools = np.asarray(right.any(axis=1) & ~np.isnan(scores).any(axis=1))
    rank = retrieval.ranks(scores[counts], right[counts])
    values = {f"R@{k}": retrieval.recall(rank, k) for k in ks} | {"MRR": retrieval.reciprocal(rank)}
    return {metric: _spread(value, counts) for metric, value in values.items()}


def chance(right: Bools, ks: Sequence[int]) -> Outcome:
    """Return the exact expectation of each metric under a random order, for each query."""
    counts: Bools = np.asarray(right.any(axis=1))
    values = {f"R@{k}": retrieval.chance_recall(right[counts], k) for k in ks}
    values["MRR"] = retrieval.chance_reciprocal(right[counts])
    return {metric: _spread(value, counts) for metric, value in values.items()}


def compare(benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Return by level each method's metrics and the encoder's paired differences; empty without queries.

    A method that no query counts for is left out.
    """
    if not benchmark.queries:
        return {}
    scores = {"encoder": encoder_scores(benchmark), "caption centroid": centroid_scores(benchmark)}
    levels = {}
    for level, right in right_answers(benchmark).items():
        outcomes = {name: outcome(value, right, params.ks) for name, value in scores.items()}
        outcomes["random"] = chance(right, params.ks)
        ours = outcomes["encoder"]
        others = {name: values for name, values in outcomes.items() if name != "encoder"}
        levels[level] = {
            "methods": _tables(outcomes, benchmark, params),
            "encoder minus": _tables(
                {name: {m: ours[m] - values[m] for m in ours} for name, values in others.items()},
                benchmark,
                params,
            ),
        }
    return levels


def health(benchmark: Benchmark, ks: Sequence[int]) -> dict[str, Any]:
    """Return how evenly the index answers the queries, at the largest k; empty without queries."""
    if not benchmark.queries:
        return {}
    found = retrieval.health(encoder_scores(benchmark), min(max(ks), len(benchmark.adapters)))
    return asdict(found) | {"busiest": benchmark.adapters[found.busiest]}


def gallery(benchmark: Benchmark, seed: int) -> list[dict[str, Any]]:
    """Return a few queries with their best hits: drawn by `seed`, at most one a theme (or adapter)."""
    scores = encoder_scores(benchmark)
    order = np.random.default_rng(seed).permutation(len(benchmark.queries)).tolist()
    shown: dict[str, int] = {}
    for row in order:
        own = benchmark.queries[row].right[0]
        shown.setdefault(benchmark.themes.get(own, own), row)
    return [_searched(benchmark, row, scores[row]) for _, row in sorted(shown.items())[:GALLERY]]


def _searched(benchmark: Benchmark, row: int, scores: Floats) -> dict[str, Any]:
    query = benchmark.queries[row]
    wanted = {benchmark.themes[sha256] for sha256 in query.right if sha256 in benchmark.themes}
    hits = []
    for place in np.argsort(-scores, kind="stable")[:HITS].tolist():
        sha256 = benchmark.adapters[place]
        theme = benchmark.themes.get(sha256)
        hits.append(
            {
                "sha256": sha256,
                "score": float(scores[place]),
                "own": sha256 in query.right,
                "right theme": theme in wanted,
            }
        )
    return {"text": query.text, "image": query.image, "themes": sorted(wanted), "hits": hits}


def _tables(outcomes: dict[str, Outcome], benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Estimate every metric of every method, clustered by the adapter that the query belongs to."""
    clusters = np.array([query.right[0] for query in benchmark.queries])
    tables = {}
    for name, values in outcomes.items():
        counts = ~np.isnan(values["MRR"])
        if counts.any():
            of = clusters[counts].tolist()
            tables[name] = {
                m: asdict(estimate(v[counts], of, params.bootstrap, params.seed)) for m, v in values.items()
            }
    return tables


def _caption_sums(benchmark: Benchmark) -> dict[tuple[int, str], Floats]:
    """Return the sum of the caption embeddings of each rendering: (pool position, image) -> (d,)."""
    sums: dict[tuple[int, str], Floats] = {}
    for place, image, vector in benchmark.captions:
        sums[place, image] = sums.get((place, image), 0.0) + vector
    return sums


def _spread(values: Floats, counts: Bools) -> Floats:
    """Put values (C,) at the places that count (Q,), nan elsewhere."""
    spread = np.full(len(counts), np.nan)
    spread[counts] = values
    return spread


def _unit(rows: Floats) -> Floats:
    unit: Floats = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit
