"""metrics/plots/: small tables that `dvc plots show` and `dvc plots diff` draw, as `plots` in dvc.yaml names them."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa

from autolora.evaluation.store import plots_folder
from autolora.matching.relevance import Relevance
from autolora.metrics import retrieval
from autolora.metrics.benchmark import Benchmark, relevant_by_level
from autolora.metrics.bootstrap import cluster_means
from autolora.metrics.comparison import Searches, search
from autolora.metrics.methods import index_scores
from autolora.metrics.numbers import DIGITS
from autolora.storage.arrays import BoolArray, Float64Array
from autolora.storage.files import write_atomic

MAX_K = 10
HISTOGRAM_STEP = 0.05
"""width of a bin of cosines"""
Rows = Iterable[Sequence[object]]


def write_plots(root: Path, benchmark: Benchmark, columns: pa.Table, relevance: Relevance | None) -> None:
    """Write the tables of all plots.

    columns: first_seen and uses_captions of the adapters of the benchmark, in their order. relevance: None if the
    encoder was imported; the table of the reliability then has no row.
    """
    levels = relevant_by_level(benchmark)
    wanted = {"right": levels.get("theme", levels["adapter"])}
    searches = search(benchmark, index_scores(benchmark), wanted, MAX_K)
    relevant = wanted["right"]
    right = np.array(
        [np.isin(hits, positions) for hits, positions in zip(searches.hits, relevant, strict=True)],
        dtype=np.bool_,
    ).reshape(searches.hits.shape)
    uses_captions = (
        columns.column("uses_captions").fill_null(False).to_numpy(zero_copy_only=False).astype(np.bool_)
    )
    tables: dict[str, tuple[str, Rows]] = {
        "recall": (
            "k recall",
            _recall(searches.ranks["right"], [query.adapters[0] for query in benchmark.queries]),
        ),
        "reliability": ("stated right hits", _reliability(searches, right, uses_captions, relevance)),
        "similarity": ("cosine right others", _similarity(searches.scores, right)),
        "pool_size": ("days adapters", _pool_size(columns)),
    }
    for name, (header, rows) in tables.items():
        write_atomic(plots_folder(root) / f"{name}.csv", _to_csv(header.split(), rows))


def _recall(ranks: Float64Array, clusters: Sequence[str]) -> Rows:
    """Return (k, share of the queries with a right adapter among the first k hits), a mean over clusters as R@k is."""
    defined = ~np.isnan(ranks)
    labels = [cluster for cluster, is_defined in zip(clusters, defined, strict=True) if is_defined]
    if not labels:
        return []
    return [
        (k, float(cluster_means(retrieval.recall(ranks[defined], k), labels).mean()))
        for k in range(1, MAX_K + 1)
    ]


def _reliability(
    searches: Searches, right: BoolArray, uses_captions: BoolArray, relevance: Relevance | None
) -> Rows:
    """Return (stated relevance, share of right hits, number of hits) of each tenth of the range.

    It is that of whole prompts and the vectors of the index: a search by the parts of a prompt states another one.
    """
    if relevance is None or not right.size:
        return []
    hits = searches.hits.ravel()
    stated = relevance.probabilities(searches.scores.ravel(), uses_captions[hits], remainder=0.0)
    return retrieval.reliability_bins(stated, right.ravel())


def _similarity(cosines: Float64Array, right: BoolArray) -> Rows:
    """Return (cosine of prompt and hit, share of the right hits, share of the others) of each bin of cosines."""
    if not right.size:
        return []
    edges = np.arange(-1, 1 + HISTOGRAM_STEP, HISTOGRAM_STEP).round(DIGITS)
    shares = []
    for group in (right, ~right):
        counts = np.histogram(cosines[group].clip(-1, 1), edges)[0]
        shares.append((counts / max(counts.sum(), 1)).tolist())
    return [row for row in zip(edges[:-1].tolist(), *shares, strict=True) if any(row[1:])]


def _pool_size(columns: pa.Table) -> Rows:
    """Return (days since the first listing, number of adapters of the index that were first seen up to then).

    DVC draws numbers alone: of dates it leaves the plot empty.
    """
    days = sorted(Counter(columns.column("first_seen").to_pylist()).items())
    totals = accumulate(count for _, count in days)
    return [((day - days[0][0]).days, total) for (day, _), total in zip(days, totals, strict=True)]


def _to_csv(header: Sequence[str], rows: Rows) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(round(value, DIGITS) if isinstance(value, float) else value for value in row)
    return stream.getvalue()
