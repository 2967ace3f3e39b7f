"""What the measurements of bench.sketching say: errors, recall of themes, near-duplicates, costs."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolora.metrics.bootstrap import estimate
from autolora.slots import slots
from bench.likeness import Matrix, Shape, binomial, find_nearest, normalize
from bench.synthetic import World, write_recipes
from bench.variants import copies

Findings = dict[str, Any]
Row = dict[str, Any]
RESAMPLES = 2000
BINS = np.linspace(-6, 0.2, 63)
"""edges of histograms of log10(1 - cosine)"""


def spell(shape: Shape) -> str:
    """Return the name of a shape: 32x32."""
    return f"{shape[0]}x{shape[1]}"


def summarize(
    world: World,
    rows: Sequence[Row],
    copied: Sequence[Row],
    cosines: Mapping[str, Matrix],
    inner: Mapping[Shape, Matrix],
    exact: Matrix,
    thresholds: Collection[float],
) -> Findings:
    """Return all findings on likeness.

    rows: one an adapter; copied: one an adapter that came back; cosines: by statistic, (N, N); inner: inner
    products (N, N) of sketches by shape, and exact ones; thresholds: on cosines, above which two are copies.
    """
    themes = np.arange(world.adapters) % world.themes
    near = {
        name: near_duplicates(name, copied, same_theme(themes, matrix), thresholds)
        for name, matrix in cosines.items()
        if name in copied[0]["alike"]
    }
    return {
        "world": describe(world, rows),
        "shapes": {
            spell(shape): {
                "megabytes": len(slots(world.transformer)) * (2 * shape[0] * shape[1] + 5) / 1e6,
                "error": errors(products, exact, themes),
                "recall": recall(cosines[spell(shape)], normalize(exact), world, themes),
            }
            for shape, products in inner.items()
        },
        "alike": alike(normalize(exact), world, themes),
        "near": near,
        "exact": judge(exact_cosines(copied), same_theme(themes, normalize(exact)), thresholds),
        "kinds": by_kind(copied, thresholds),
    }


def describe(world: World, rows: Sequence[Row]) -> Findings:
    """Return what was measured, and its time: sums over all adapters, in the processor's seconds."""
    steps = ("hash", "parse", "sketch", "encode")
    return {
        "adapters": world.adapters,
        "themes": world.themes,
        "authors": world.authors,
        "slots": len(slots(world.transformer)),
        "ranks": sorted(set(world.ranks)),
        "megabytes": sum(row["megabytes"] for row in rows),
        "seconds": {step: sum(row["seconds"][step] for row in rows) for step in steps},
        "median": {step: statistics.median(row["seconds"][step] for row in rows) for step in steps},
        "subsets": {
            subset: sum(recipe.subset == subset for recipe in write_recipes(world))
            for subset in sorted({recipe.subset for recipe in write_recipes(world)})
        },
    }


def errors(inner: Matrix, exact: Matrix, themes: NDArray[np.int64]) -> Findings:
    """Return |estimated - exact| inner products relative to both exact norms: over all pairs, and within themes."""
    norms = np.sqrt(exact.diagonal())
    off = np.abs(inner - exact) / np.outer(norms, norms)
    pairs = np.triu_indices(len(off), 1)
    return {
        "mean": float(off[pairs].mean()),
        "p95": float(np.quantile(off[pairs], 0.95)),
        "theme": {
            "mean": float(same_theme(themes, off).mean()),
            "p95": float(np.quantile(same_theme(themes, off), 0.95)),
        },
        "norm": float(np.abs(np.sqrt(inner.diagonal()) / norms - 1).mean()),
        "pairs": len(pairs[0]),
    }


def recall(found: Matrix, exact: Matrix, world: World, themes: NDArray[np.int64]) -> Findings:
    """Return how often the nearest other adapter is of the same theme, by sketch and exactly, and the difference."""
    right, truly = (themes[find_nearest(cosines)] == themes for cosines in (found, exact))
    level = themes % len(world.shares)
    difference = right.astype(np.float64) - truly
    return {
        "sketch": float(right.mean()),
        "exact": float(truly.mean()),
        "difference": asdict(estimate(difference, themes.tolist(), RESAMPLES, 0)),
        "same neighbor": float((find_nearest(found) == find_nearest(exact)).mean()),
        "shares": {
            str(share): {
                "sketch": float(right[level == at].mean()),
                "exact": float(truly[level == at].mean()),
            }
            for at, share in enumerate(world.shares)
        },
    }


def alike(exact: Matrix, world: World, themes: NDArray[np.int64]) -> Findings:
    """Return exact cosines: within the themes of each share, and between themes."""
    level = themes % len(world.shares)
    found = {}
    for at, share in enumerate(world.shares):
        of_level = np.flatnonzero(level == at)
        values = same_theme(themes[of_level], exact[np.ix_(of_level, of_level)])
        found[str(share)] = {"median": float(np.median(values)), "highest": float(values.max())}
    other = exact[themes[:, None] != themes]
    found["other themes"] = {"median": float(np.median(other)), "highest": float(other.max())}
    return found


def same_theme(themes: NDArray[np.int64], matrix: Matrix) -> Matrix:
    """Return the entries of a symmetric matrix (N, N) that belong to two adapters of one theme."""
    first, second = np.triu_indices(len(themes), 1)
    same = themes[first] == themes[second]
    entries: Matrix = matrix[first[same], second[same]]
    return entries


def near_duplicates(
    name: str, copied: Sequence[Row], originals: Matrix, thresholds: Collection[float]
) -> Findings:
    """Return what a threshold on one statistic finds, and raises falsely.

    originals: of pairs of distinct originals within a theme; copies against the theme's others add to them.
    """
    asked = asked_kinds()
    found = [
        (kind in asked, cosines)
        for row in copied
        for kind, cosines in zip(row["kinds"], row["alike"][name], strict=True)
    ]
    distinct = np.concatenate((originals, *(cosines[1:] for _, cosines in found)))
    must, others = (
        np.array([cosines[0] for one, cosines in found if one is wanted]) for wanted in (True, False)
    )
    histograms = {"distinct": histogram(distinct), "asked": histogram(must), "others": histogram(others)}
    return judge(must, distinct, thresholds) | {"histograms": histograms}


def exact_cosines(copied: Sequence[Row]) -> Matrix:
    """Return the exact cosines of the copies that must be found with their originals."""
    asked = asked_kinds()
    pairs = [pair for row in copied for pair in zip(row["kinds"], row["exact"], strict=True)]
    return np.array([cosine for kind, cosine in pairs if kind in asked])


def asked_kinds() -> set[str]:
    """Return the kinds of copy that must be found."""
    return {copy.name for copy in copies() if copy.asked}


def judge(copied: Matrix, distinct: Matrix, thresholds: Collection[float]) -> Findings:
    """Return found and false alarms at each threshold, with exact binomial intervals, and the gap between the two."""
    return {
        "lowest copy": float(copied.min()),
        "highest distinct": float(distinct.max()),
        "thresholds": {
            str(threshold): {"found": rate(copied >= threshold), "alarms": rate(distinct >= threshold)}
            for threshold in sorted(thresholds)
        },
    }


def rate(hits: NDArray[np.bool_]) -> Findings:
    """Return how many of how many, with the interval."""
    low, high = binomial(int(hits.sum()), hits.size)
    return {"k": int(hits.sum()), "n": hits.size, "low": low, "high": high}


def by_kind(copied: Sequence[Row], thresholds: Collection[float]) -> Findings:
    """Return, by kind of copy, exact cosines with the original, and how many the statistics find."""
    found = {}
    for copy in copies():
        rows = [(row, row["kinds"].index(copy.name)) for row in copied if copy.name in row["kinds"]]
        exact = [row["exact"][at] for row, at in rows]
        found[copy.name] = {
            "asked": copy.asked,
            "n": len(rows),
            "exact": {"median": statistics.median(exact), "lowest": min(exact)},
            "found": {
                name: {
                    str(t): sum(row["alike"][name][at][0] >= t for row, at in rows)
                    for t in sorted(thresholds)
                }
                for name in copied[0]["alike"]
            },
        }
    return found


def histogram(cosines: Matrix) -> list[int]:
    """Return counts of log10(1 - cosine) between the edges BINS; what lies beyond counts at the ends."""
    distance = np.log10(np.maximum(1 - cosines, 1e-12))
    counts: list[int] = np.histogram(distance.clip(BINS[0], BINS[-1]), BINS)[0].tolist()
    return counts
