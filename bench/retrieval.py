"""All methods of retrieval on adapters unseen in training: `python -m bench.retrieval` (after `make demo`).

The encoders of all presets are trained in the size that bench/encoders.py states, those with random weights from three
seeds. They are compared with each other and with baselines (bench/baselines.py), on the queries of the stage
`evaluation`, in the whole index and in an
index of the unseen adapters alone. Two more baselines: the mean image features of an adapter's renderings by the judge
CLIP, and the number of downloads. R@1 is averaged over seeds, over the queries of each adapter, and over adapters;
intervals resample adapters. Nothing in data/ is written.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from autolora import models
from autolora.catalog.store import read_active
from autolora.encoder.caching import CachingTextEncoder
from autolora.errors import exit_on_error
from autolora.evaluation.benchmark import read_renderings
from autolora.metrics.benchmark import EmbeddedCaption, sum_captions
from autolora.metrics.bootstrap import cluster_means, estimate
from autolora.metrics.clip import image_features, load_clip, text_features
from autolora.metrics.comparison import ranks_by_level
from autolora.metrics.methods import Scores, weights_scores
from autolora.metrics.retrieval import recall
from autolora.metrics.summary import Headline, update
from autolora.params import EncoderParams, EvaluationParams, Params, load
from autolora.pool import store as pool_store
from autolora.storage.arrays import Float64Array
from bench.baselines import (
    BASELINES,
    Method,
    Pool,
    centroid_scores,
    chance_by_level,
    levels,
    make_pool,
    unseen_index,
)
from bench.encoders import VARIANTS, build_benchmark, encoder_params
from bench.retrieval_figure import draw_retrieval
from bench.timing import today

COMMAND = "python -m bench.retrieval"
FIGURE = Path("docs", "images", "retrieval.png")
SEEDS = (0, 1, 2)
WHOLE, UNSEEN = "whole index", "unseen index"
Methods = dict[str, tuple[Pool, Method]]
"""name -> the pool that the method is measured on, and the method"""
Recalls = dict[str, dict[str, dict[str, Float64Array]]]
"""index -> level -> method -> R@1 of each query (Q,), nan if undefined"""
OF_STAGE = ("weights", "caption centroid", "random")
"""methods that the stage `evaluation` measures too, in the whole index at these levels:"""
OF_STAGE_LEVELS = ("adapter", "theme")


def main() -> None:
    """Train, measure, print the table; write metrics unless steps or seeds differ from the defaults."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, help="of the transformers, to try the bench")
    options = parser.parse_args()
    params = load(options.root / "params.yaml")
    tables = compare(options.root, params, options.seeds, options.steps)
    print(to_markdown(tables))
    if options.steps is None and tuple(options.seeds) == SEEDS:
        (options.root / FIGURE).write_bytes(draw_retrieval(tables))
        update(options.root, COMMAND, today(), headlines(tables))


def compare(root: Path, params: Params, seeds: Sequence[int], steps: int | None = None) -> dict[str, Any]:
    """Return index -> level -> method -> R@1: value, low, high, n, clusters, and the values of each seed."""
    models.set_threads(params.models)
    text_encoder = CachingTextEncoder(models.load_text_encoder(params.models))

    def build(section: EncoderParams) -> Pool:
        return make_pool(root, build_benchmark(root, section, params, text_encoder))

    best = build(encoder_params(root, "best", {}, SEEDS[0], steps))
    of_best: Methods = {"weights": (best, by_weights)}
    fixed = merge(measure(of_best | baselines(root, params, best)), measure_chance(best))
    by_seed = []
    for seed in seeds:
        methods: Methods = {}
        for name, variant in VARIANTS.items():
            section = encoder_params(root, variant.preset, variant.changes, seed, steps)
            methods[name] = (build(section), by_weights)
        methods["plain caption centroid"] = (methods["paper"][0], centroid_scores)
        by_seed.append(merge(fixed, measure(methods)))
    return estimate_all(by_seed, best, params.evaluation)


def by_weights(pool: Pool) -> Scores:
    """Return the method `weights` of the stage `evaluation`."""
    return weights_scores(pool.benchmark)


def baselines(root: Path, params: Params, pool: Pool) -> Methods:
    """Return all baselines but the plain caption centroid."""
    downloads = read_downloads(root)
    return {name: (pool, scores) for name, scores in BASELINES.items()} | {
        "popularity": (pool, lambda restricted: popularity_scores(restricted, downloads)),
        "rendering centroid": (with_images(root, params, pool), centroid_scores),
    }


def read_downloads(root: Path) -> dict[str, int]:
    """Return adapter sha256 -> the largest number of downloads that a hub lists for it."""
    rows = pool_store.adapters(root)
    downloads: dict[str, int] = {}
    for listing in read_active(root):
        if row := rows.get(listing.key):
            downloads[row.sha256] = max(downloads.get(row.sha256, 0), listing.downloads or 0)
    return downloads


def popularity_scores(pool: Pool, downloads: Mapping[str, int]) -> Scores:
    """Return the method that scores adapters by their downloads, whatever the query is."""
    adapters, queries = pool.benchmark.adapters, pool.benchmark.queries
    scores = np.array([downloads.get(sha256, 0) for sha256 in adapters], dtype=np.float64)
    return lambda rows: np.tile(scores, (len(queries[rows]), 1))


def with_images(root: Path, params: Params, pool: Pool) -> Pool:
    """Return the pool with image features in place of captions, and text features of the queries, by the judge.

    The score of the caption centroid is then that of the rendering centroid, without the described rendering.
    """
    clip = load_clip(models.resolve(params.judges.clip, params.judges.clip_revision), params.models.device)
    benchmark, renderings = pool.benchmark, read_renderings(root)
    owners = [(row, image) for row, sha256 in enumerate(benchmark.adapters) for image in renderings[sha256]]
    images = [Image.open(pool_store.rendering_path(root, image)) for _, image in owners]
    features = image_features(clip, images)
    embedded = (
        EmbeddedCaption(row, image, vector) for (row, image), vector in zip(owners, features, strict=True)
    )
    shape = (len(benchmark.adapters), features.shape[1])
    described = {query.image for query in benchmark.queries}
    by_image = replace(
        benchmark,
        captions=sum_captions(embedded, shape, described),
        query_vectors=text_features(clip, [query.text for query in benchmark.queries]),
    )
    return replace(pool, benchmark=by_image)


def measure(methods: Methods) -> Recalls:
    """Return R@1 of each query by index, level and method."""
    recalls: Recalls = {}
    for name, (pool, make) in methods.items():
        for index, restricted in indexes(pool).items():
            ranks = ranks_by_level(restricted.benchmark, make(restricted), levels(restricted))
            for level, of_level in ranks.items():
                recalls.setdefault(index, {}).setdefault(level, {})[name] = recall(of_level, 1)
    return recalls


def measure_chance(pool: Pool) -> Recalls:
    """Return the expectations of R@1 of each query by index, level and method."""
    return {
        index: {
            level: {name: metrics["R@1"] for name, metrics in tables.items()}
            for level, tables in chance_by_level(restricted, (1,)).items()
        }
        for index, restricted in indexes(pool).items()
    }


def indexes(pool: Pool) -> dict[str, Pool]:
    """Return the pool of the whole index, and that of the unseen adapters alone."""
    return {WHOLE: pool, UNSEEN: unseen_index(pool)}


def merge(*parts: Recalls) -> Recalls:
    """Return the methods of all parts in one table per index and level."""
    merged: Recalls = {}
    for part in parts:
        for index, by_level in part.items():
            for level, methods in by_level.items():
                merged.setdefault(index, {}).setdefault(level, {}).update(methods)
    return merged


def estimate_all(by_seed: Sequence[Recalls], pool: Pool, params: EvaluationParams) -> dict[str, Any]:
    """Return index -> level -> method -> estimate of the mean over seeds, with the values of each seed."""
    tables: dict[str, Any] = {}
    for index, restricted in indexes(pool).items():
        clusters = np.array([query.adapters[0] for query in restricted.benchmark.queries])
        for level, methods in by_seed[0][index].items():
            for name in methods:
                values = np.stack([recalls[index][level][name] for recalls in by_seed])
                known = ~np.isnan(values).any(axis=0)
                if known.any():
                    labels = clusters[known].tolist()
                    mean = estimate(values.mean(axis=0)[known], labels, params.bootstrap, params.seed)
                    seeds = [float(cluster_means(row[known], labels).mean()) for row in values]
                    row = asdict(mean) | {"seeds": seeds}
                    tables.setdefault(index, {}).setdefault(level, {})[name] = row
    return tables


def headlines(tables: Mapping[str, Any]) -> list[Headline]:
    """Return the rows of metrics/details.json: those that the stage `evaluation` does not write.

    Their names are formed as there: retrieval.paper_theme_r_at_1_unseen, retrieval.paper_unseen_index_theme_…
    """
    presets = {name: variant.preset for name, variant in VARIANTS.items()} | {"weights": "best"}
    rows = []
    for index, prefix in ((WHOLE, ""), (UNSEEN, f"{UNSEEN} ")):
        for level, methods in tables[index].items():
            for name, row in methods.items():
                if index == WHOLE and name in OF_STAGE and level in OF_STAGE_LEVELS:
                    continue
                label = name.lower()
                rows.append(
                    Headline(
                        name=f"retrieval.{label} {prefix}{level} r_at_1 unseen".replace(" ", "_"),
                        preset=presets.get(name),
                        **{field: row[field] for field in ("value", "low", "high", "n")},
                    )
                )
    return rows


def to_markdown(tables: Mapping[str, Any]) -> str:
    """Return a table: a line per method, a column per index and level."""
    columns = [(index, level) for index, by_level in tables.items() for level in by_level]
    names = dict.fromkeys(name for index, level in columns for name in tables[index][level])
    lines = [f"| method | {' | '.join(f'{index}, {level}' for index, level in columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name in names:
        cells = (tables[index][level].get(name) for index, level in columns)
        lines.append(f"| {name} | {' | '.join(quote(row) for row in cells)} |")
    return "\n".join(lines)


def quote(row: Mapping[str, float] | None) -> str:
    """Return an estimate as text."""
    return f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if row else "–"


if __name__ == "__main__":
    with exit_on_error():
        main()
