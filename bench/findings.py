"""Statistics of the measurements of bench.sketching: errors, recall of themes, near-duplicates, costs."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolora.lora.slots import slots
from autolora.metrics.bootstrap import estimate
from bench.similarity import Matrix, Shape, clopper_pearson, nearest_neighbors, normalize
from bench.synthetic import PoolSpec, list_adapters
from bench.variants import copies

Findings = dict[str, Any]
Row = dict[str, Any]
RESAMPLES = 2000
BINS = np.linspace(-6, 0.2, 63)
"""bin edges of the histograms of log10(1 - cosine)"""


def shape_name(shape: Shape) -> str:
    """Return the name of a shape, e.g. 32x32."""
    return f"{shape[0]}x{shape[1]}"


def square_shapes(findings: Findings) -> dict[int, Findings]:
    """Return m -> statistics of a shape, for the shapes with m = p."""
    sides = {name: name.split("x") for name in findings["shapes"]}
    return {int(m): findings["shapes"][name] for name, (m, p) in sides.items() if m == p}


def summarize(
    pool_spec: PoolSpec,
    rows: Sequence[Row],
    copied: Sequence[Row],
    cosines: Mapping[str, Matrix],
    inner: Mapping[Shape, Matrix],
    exact: Matrix,
    thresholds: Collection[float],
) -> Findings:
    """Return all statistics on similarity.

    rows: one per adapter; copied: one per adapter that was copied; cosines: (N, N), by statistic; inner: inner products
    (N, N) of sketches, by shape; exact: exact inner products (N, N); thresholds: cosines at or above which two adapters
    count as copies.
    """
    themes = np.arange(pool_spec.adapters) % pool_spec.themes
    near = {
        name: near_duplicates(name, copied, same_theme(themes, matrix), thresholds)
        for name, matrix in cosines.items()
        if name in copied[0]["cosines"]
    }
    return {
        "pool": describe(pool_spec, rows),
        "shapes": {
            shape_name(shape): {
                "megabytes": len(slots(pool_spec.transformer)) * (2 * shape[0] * shape[1] + 5) / 1e6,
                "error": errors(products, exact, themes),
                "recall": recall(cosines[shape_name(shape)], normalize(exact), pool_spec, themes),
            }
            for shape, products in inner.items()
        },
        "exact cosines": exact_cosine_stats(normalize(exact), pool_spec, themes),
        "near": near,
        "exact": threshold_rates(exact_cosines(copied), same_theme(themes, normalize(exact)), thresholds),
        "kinds": stats_by_kind(copied, thresholds),
    }


def describe(pool_spec: PoolSpec, rows: Sequence[Row]) -> Findings:
    """Return the composition of the pool, and the CPU seconds of each step: the sum and the median over adapters."""
    steps = ("hash", "parse", "sketch", "encode")
    return {
        "adapters": pool_spec.adapters,
        "themes": pool_spec.themes,
        "authors": pool_spec.authors,
        "slots": len(slots(pool_spec.transformer)),
        "ranks": sorted(set(pool_spec.ranks)),
        "megabytes": sum(row["megabytes"] for row in rows),
        "seconds": {step: sum(row["seconds"][step] for row in rows) for step in steps},
        "median": {step: statistics.median(row["seconds"][step] for row in rows) for step in steps},
        "subsets": {
            subset: sum(adapter.subset == subset for adapter in list_adapters(pool_spec))
            for subset in sorted({adapter.subset for adapter in list_adapters(pool_spec)})
        },
    }


def errors(inner: Matrix, exact: Matrix, themes: NDArray[np.int64]) -> Findings:
    """Return |estimated - exact| inner products relative to both exact norms, over all pairs and within themes."""
    norms = np.sqrt(exact.diagonal())
    relative = np.abs(inner - exact) / np.outer(norms, norms)
    pairs = np.triu_indices(len(relative), 1)
    return {
        "mean": float(relative[pairs].mean()),
        "p95": float(np.quantile(relative[pairs], 0.95)),
        "theme": {
            "mean": float(same_theme(themes, relative).mean()),
            "p95": float(np.quantile(same_theme(themes, relative), 0.95)),
        },
        "norm": float(np.abs(np.sqrt(inner.diagonal()) / norms - 1).mean()),
        "pairs": len(pairs[0]),
    }


def recall(estimated: Matrix, exact: Matrix, pool_spec: PoolSpec, themes: NDArray[np.int64]) -> Findings:
    """Return how often the nearest neighbor has the same theme, by sketches and exactly, and the difference."""
    by_sketch, by_exact = (themes[nearest_neighbors(cosines)] == themes for cosines in (estimated, exact))
    level = themes % len(pool_spec.shares)
    difference = by_sketch.astype(np.float64) - by_exact
    return {
        "sketch": float(by_sketch.mean()),
        "exact": float(by_exact.mean()),
        "difference": asdict(estimate(difference, themes.tolist(), RESAMPLES, 0)),
        "same neighbor": float((nearest_neighbors(estimated) == nearest_neighbors(exact)).mean()),
        "shares": {
            str(share): {
                "sketch": float(by_sketch[level == index].mean()),
                "exact": float(by_exact[level == index].mean()),
            }
            for index, share in enumerate(pool_spec.shares)
        },
    }


def exact_cosine_stats(exact: Matrix, pool_spec: PoolSpec, themes: NDArray[np.int64]) -> Findings:
    """Return median and highest exact cosine within the themes of each share, and between themes."""
    level = themes % len(pool_spec.shares)
    stats = {}
    for index, share in enumerate(pool_spec.shares):
        of_level = np.flatnonzero(level == index)
        values = same_theme(themes[of_level], exact[np.ix_(of_level, of_level)])
        stats[str(share)] = {"median": float(np.median(values)), "highest": float(values.max())}
    other = exact[themes[:, None] != themes]
    stats["other themes"] = {"median": float(np.median(other)), "highest": float(other.max())}
    return stats


def same_theme(themes: NDArray[np.int64], matrix: Matrix) -> Matrix:
    """Return the entries of a symmetric matrix (N, N) for all pairs of different adapters with the same theme."""
    first, second = np.triu_indices(len(themes), 1)
    same = themes[first] == themes[second]
    entries: Matrix = matrix[first[same], second[same]]
    return entries


def near_duplicates(
    name: str, copied: Sequence[Row], originals: Matrix, thresholds: Collection[float]
) -> Findings:
    """Return true and false positives of each threshold on one statistic, and histograms of its cosines.

    originals: cosines of pairs of different originals within a theme; the cosines of copies with the other adapters of
    the theme are added to them.
    """
    required = required_kinds()
    labeled = [
        (kind in required, cosines)
        for row in copied
        for kind, cosines in zip(row["kinds"], row["cosines"][name], strict=True)
    ]
    distinct = np.concatenate((originals, *(cosines[1:] for _, cosines in labeled)))
    to_find, other = (
        np.array([cosines[0] for is_required, cosines in labeled if is_required is group])
        for group in (True, False)
    )
    histograms = {"distinct": histogram(distinct), "required": histogram(to_find), "other": histogram(other)}
    return threshold_rates(to_find, distinct, thresholds) | {"histograms": histograms}


def exact_cosines(copied: Sequence[Row]) -> Matrix:
    """Return the exact cosines of the copies that must be found, each with its original."""
    required = required_kinds()
    pairs = [pair for row in copied for pair in zip(row["kinds"], row["exact"], strict=True)]
    return np.array([cosine for kind, cosine in pairs if kind in required])


def required_kinds() -> set[str]:
    """Return the names of the kinds of copies that must be found."""
    return {copy.name for copy in copies() if copy.required}


def threshold_rates(copied: Matrix, distinct: Matrix, thresholds: Collection[float]) -> Findings:
    """Return true and false positives at each threshold, with binomial intervals, and the cosines next to the gap."""
    return {
        "lowest copy": float(copied.min()),
        "highest distinct": float(distinct.max()),
        "thresholds": {
            str(threshold): {
                "true positives": rate(copied >= threshold),
                "false positives": rate(distinct >= threshold),
            }
            for threshold in sorted(thresholds)
        },
    }


def rate(hits: NDArray[np.bool_]) -> Findings:
    """Return the number of hits k, the number of trials n, and the interval of the rate."""
    low, high = clopper_pearson(int(hits.sum()), hits.size)
    return {"k": int(hits.sum()), "n": hits.size, "low": low, "high": high}


def stats_by_kind(copied: Sequence[Row], thresholds: Collection[float]) -> Findings:
    """Return, by kind of copy, the exact cosines with the original, and the number of true positives by statistic."""
    stats = {}
    for copy in copies():
        rows = [(row, row["kinds"].index(copy.name)) for row in copied if copy.name in row["kinds"]]
        exact = [row["exact"][index] for row, index in rows]
        stats[copy.name] = {
            "required": copy.required,
            "n": len(rows),
            "exact": {"median": statistics.median(exact), "lowest": min(exact)},
            "true positives": {
                name: {
                    str(t): sum(row["cosines"][name][index][0] >= t for row, index in rows)
                    for t in sorted(thresholds)
                }
                for name in copied[0]["cosines"]
            },
        }
    return stats


def histogram(cosines: Matrix) -> list[int]:
    """Return counts of log10(1 - cosine) in BINS; values outside are counted in the first or last bin."""
    distance = np.log10(np.maximum(1 - cosines, 1e-12))
    counts: list[int] = np.histogram(distance.clip(BINS[0], BINS[-1]), BINS)[0].tolist()
    return counts
