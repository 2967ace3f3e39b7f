"""The comparison of two trainings: the same queries over the adapters that both indexes have, by weights alone.

Captions are part of the other vectors, and the queries are captions.
"""

from pathlib import Path

import numpy as np

from autolora.evaluation.benchmark import read_renderings, unseen_queries
from autolora.index.copies import Index
from autolora.matching.caption_rule import directions
from autolora.metrics.bootstrap import Estimate, estimates
from autolora.metrics.retrieval import blocks, ranks
from autolora.releases.exact import Encode
from autolora.storage.arrays import Float64Array

RESAMPLES, SEED = 2000, 0
BEFORE, AFTER, DIFFERENCE = "before", "after", "difference"


def compare_trainings(root: Path, former: Index, index: Index, encode: Encode) -> dict[str, Estimate]:
    """Return the share of queries whose first hit is the described adapter: before, after, and their difference.

    The queries are captions of adapters of the test split that neither training has seen. Empty without queries.
    """
    both = sorted(_adapters(former) & _adapters(index))
    unseen = _adapters(former, "test") & _adapters(index, "test")
    queries = [
        query
        for query in unseen_queries(root, read_renderings(root), "test")
        if any(sha256 in unseen for sha256 in query.adapters)
    ]
    if not queries:
        return {}
    places = {sha256: place for place, sha256 in enumerate(both)}
    relevant = [
        np.array([places[sha256] for sha256 in query.adapters if sha256 in places]) for query in queries
    ]
    features = encode([query.text for query in queries])

    def first_hits(source: Index) -> Float64Array:
        vectors = directions(source.weights_vectors[source.find(both)].astype(np.float64)).T
        texts = source.text_map.apply(features)
        found = np.empty(len(queries))
        for rows in blocks(len(queries), len(both)):
            found[rows] = ranks(texts[rows] @ vectors, relevant[rows]) == 1
        return found

    before, after = first_hits(former), first_hits(index)
    columns = {BEFORE: before, AFTER: after, DIFFERENCE: after - before}
    return estimates(columns, [query.adapters[0] for query in queries], RESAMPLES, SEED)


def describe(found: dict[str, Estimate]) -> str:
    """Return the comparison as one sentence."""
    if not found:
        return "There is no caption of an adapter that neither training has seen, by which both could be compared"
    before, after, change = (found[name] for name in (BEFORE, AFTER, DIFFERENCE))
    return (
        f"By the weights alone, the first hit is right for {after.value * after.n:.0f} of {after.n} captions "
        f"({after.value:.1%}), with the former training for {before.value * before.n:.0f} ({before.value:.1%}): "
        f"{change.value:+.1%}, between {change.low:+.1%} and {change.high:+.1%}. These are captions of "
        f"{before.clusters} adapters that neither has seen; a search, as the report measures it, uses captions too and "
        "is right more often"
    )


def _adapters(index: Index, split: str | None = None) -> set[str]:
    """Return the sha256 of the adapters of an index, or of those of a split."""
    rows = index.rows.columns.select(["sha256", "split"]).to_pylist()
    return {row["sha256"] for row in rows if split is None or row["split"] == split}
