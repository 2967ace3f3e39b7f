"""Sketch against full weights: the encoder of params.yaml trained with both probes, on adapters unseen in training.

Queries are captions of unseen adapters' renderings, as in the stage `evaluation`. Nothing in data/ is written.
R@1 is averaged over seeds, over the queries of each adapter, and over adapters; intervals resample adapters.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autolora import models
from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder import training
from autolora.encoder.examples import load_examples
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.model import Encoder, TextEncoder, embed_texts
from autolora.evaluation.stage import list_captions, unseen_queries
from autolora.metrics.benchmark import (
    Benchmark,
    EmbeddedCaption,
    Query,
    caption_centroid_scores,
    encoder_scores,
    relevant_by_level,
    sum_captions,
)
from autolora.metrics.bootstrap import cluster_means, estimate
from autolora.metrics.comparison import chance_metrics, query_metrics, search
from autolora.metrics.judgments import read_judgments
from autolora.metrics.summary import Headline, update
from autolora.params import EncoderParams, EvaluationParams, Params, load
from autolora.pool import store as pool
from autolora.presets import Probe
from autolora.storage.arrays import Float32Array, Float64Array
from bench.timing import today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.probes"
PROBES: tuple[Probe, ...] = ("sketch", "full")
POOLS = ("all", "unseen")
"""adapters that are searched"""
K = (1,)
SEEDS = [0, 1, 2]
HEADLINES = {
    "sketch": "encoder, sketch",
    "full": "encoder, full",
    "caption_centroid": "caption centroid",
    "nearest_raw_sketch": "nearest raw sketch",
    "chance": "chance",
    "ceiling": "ceiling within the theme",
}
"""name in metrics/summary.json -> method"""


class CachingTextEncoder:
    """A text encoder that encodes each text once."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder, self.width, self.digest = encoder, encoder.width, encoder.digest
        self.features: dict[str, Float32Array] = {}

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return features (N, d)."""
        if missing := [text for text in dict.fromkeys(texts) if text not in self.features]:
            self.features |= dict(zip(missing, self.encoder.encode(missing), strict=True))
        return np.stack([self.features[text] for text in texts])


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """An encoder, and the function that reads its inputs by an adapter's sha256."""

    encoder: Encoder
    read: Callable[[str], AdapterBatch]

    def embed(self, sha256: str) -> Float64Array:
        """Return the unit vector (d,) of one adapter."""
        inputs = self.read(sha256)
        with torch.inference_mode():
            vector: Float64Array = self.encoder.embed(inputs.values, inputs.present)[0].double().numpy()
        return vector


def main() -> None:
    """Train, measure, print; write metrics/summary.json unless steps or seeds differ from the defaults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--steps", type=int, help="instead of encoder.steps")
    parser.add_argument("--json", type=Path, help="file to write all numbers to")
    options = parser.parse_args()
    params = load(options.root / "params.yaml")
    report = compare_probes(options.root, params, options.seeds, options.steps)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    if options.steps is None and options.seeds == SEEDS:
        update(options.root, COMMAND, today(), headlines(report, params.encoder.preset))
    print_tables(report)


def compare_probes(
    root: Path, params: Params, seeds: Sequence[int], steps: int | None = None
) -> dict[str, Any]:
    """Return searched pool -> level -> method -> value, low, high, n, clusters; and the CPU seconds of training."""
    models.set_threads(params.models)
    text_encoder = CachingTextEncoder(models.load_text_encoder(params.models))
    recalls: dict[str, list[dict[str, Any]]] = {searched: [] for searched in POOLS}
    seconds: dict[str, list[float]] = {probe: [] for probe in PROBES}
    for seed in seeds:
        trained: dict[str, TrainedEncoder] = {}
        for probe in PROBES:
            variant = replace(params.encoder.variant, model="transformer", hybrid=False, probe=probe)
            section = replace(params.encoder, variant=variant, seed=seed)
            section = section if steps is None else replace(section, steps=steps)
            started = time.process_time()
            trained[probe] = train(root, params, section, text_encoder)
            seconds[probe].append(time.process_time() - started)
        for searched in POOLS:
            recalls[searched].append(measure(root, params, trained, text_encoder, searched))
    return {
        "searched": {
            searched: estimates(by_seed, params.evaluation) for searched, by_seed in recalls.items()
        },
        "seeds": list(seeds),
        "CPU seconds of training": {probe: float(np.mean(times)) for probe, times in seconds.items()},
    }


def train(
    root: Path, params: Params, section: EncoderParams, text_encoder: CachingTextEncoder
) -> TrainedEncoder:
    """Return a trained encoder."""
    encoder = training.build(root, section, models.transformer_config(params.models), text_encoder)
    read = lru_cache(maxsize=None)(encoder_store.reader(root, encoder.config, params.pool))
    for _ in training.fit(encoder, load_examples(root), read, text_encoder, section):
        pass
    return TrainedEncoder(encoder, read)


def measure(
    root: Path,
    params: Params,
    trained: Mapping[str, TrainedEncoder],
    text_encoder: CachingTextEncoder,
    searched: str,
) -> dict[str, Any]:
    """Return level -> method -> R@1 of each query (Q,), and the adapter that each query belongs to."""
    benchmarks = {
        probe: build_benchmark(root, params, encoder, text_encoder, searched)
        for probe, encoder in trained.items()
    }
    benchmark = benchmarks["sketch"]
    scores = {f"encoder, {probe}": encoder_scores(built) for probe, built in benchmarks.items()}
    scores["caption centroid"] = caption_centroid_scores(benchmark)
    by_sketch = sketch_scores(root, benchmark, trained["sketch"].encoder, text_encoder)
    scores["nearest raw sketch"] = lambda rows: by_sketch[rows]
    levels: dict[str, Any] = {}
    by_level = relevant_by_level(benchmark)
    by_level = {level: by_level[level] for level in ("adapter", "theme") if level in by_level}
    searches = {name: search(benchmark, method, by_level) for name, method in scores.items()}
    for level, relevant in by_level.items():
        recall = {name: query_metrics(found.ranks[level], K)["R@1"] for name, found in searches.items()}
        recall["sketch − full"] = recall["encoder, sketch"] - recall["encoder, full"]
        levels[level] = recall | {"chance": chance_metrics(relevant, len(benchmark.adapters), K)["R@1"]}
    if "theme" in levels:
        same_theme = np.array([len(positions) for positions in by_level["theme"]])
        shares = np.array([len(positions) for positions in by_level["adapter"]]) / np.maximum(same_theme, 1)
        ceiling = np.where(same_theme > 0, shares, np.nan)
        levels["adapter"]["ceiling within the theme"] = np.minimum(ceiling, 1.0)
    return {"levels": levels, "clusters": [query.adapters[0] for query in benchmark.queries]}


def build_benchmark(
    root: Path, params: Params, trained: TrainedEncoder, text_encoder: CachingTextEncoder, searched: str
) -> Benchmark:
    """Return the benchmark of an encoder over all adapters, or over those unseen in training."""
    renderings = {row["sha256"]: tuple(row["renderings"]) for row in dataset.rows(root, "adapters")}
    training_set = {row.sha256 for row in dataset.training_lock(root).in_split("train")}
    adapters = tuple(
        sorted(sha256 for sha256 in renderings if searched == "all" or sha256 not in training_set)
    )
    captions = list_captions(root, adapters, renderings)
    queries = restrict(unseen_queries(root, renderings, "test"), set(adapters))
    vectors = embed_texts(trained.encoder, text_encoder, [text for *_, text in captions])
    embedded = (
        EmbeddedCaption(adapter, image, vector)
        for (adapter, image, _), vector in zip(captions, vectors, strict=True)
    )
    path = params.evaluation.themes
    judgments = read_judgments(root / path if path else None)
    return Benchmark(
        adapters=adapters,
        adapter_vectors=np.stack([trained.embed(sha256) for sha256 in adapters]),
        captions=sum_captions(
            embedded, (len(adapters), vectors.shape[1]), {query.image for query in queries}
        ),
        queries=queries,
        query_vectors=embed_texts(trained.encoder, text_encoder, [query.text for query in queries]),
        themes={sha256: judgments[sha256].theme for sha256 in adapters if sha256 in judgments},
        training=frozenset(training_set),
        min_agreement=None,
    )


def restrict(queries: Sequence[Query], adapters: set[str]) -> tuple[Query, ...]:
    """Return the queries with their relevant adapters among these; queries without any are left out."""
    restricted = (
        replace(query, adapters=tuple(sha256 for sha256 in query.adapters if sha256 in adapters))
        for query in queries
    )
    return tuple(query for query in restricted if query.adapters)


def sketch_scores(
    root: Path, benchmark: Benchmark, encoder: Encoder, text_encoder: CachingTextEncoder
) -> Float64Array:
    """Return a baseline without an encoder of weights (Q, N): cosines of raw sketches.

    A query is represented by the raw sketch of the training adapter whose mean caption embedding is nearest to it.
    """
    examples = load_examples(root)
    centers = np.stack(
        [embed_texts(encoder, text_encoder, example.captions).mean(axis=0) for example in examples]
    )
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    nearest = (benchmark.query_vectors @ centers.T).argmax(axis=1)
    sketches = load_sketches(root, [example.sha256 for example in examples])
    scores: Float64Array = (sketches @ load_sketches(root, benchmark.adapters).T)[nearest]
    return scores


def load_sketches(root: Path, adapters: Sequence[str]) -> Float64Array:
    """Return the sketches of adapters as unit rows (N, S·m·p)."""
    rows = np.stack([pool.load_sketch(root, sha256).values.flatten().numpy() for sha256 in adapters])
    unit: Float64Array = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def estimates(by_seed: Sequence[dict[str, Any]], params: EvaluationParams) -> dict[str, Any]:
    """Return level -> method -> estimate of the mean over seeds, and each seed's own value."""
    clusters = by_seed[0]["clusters"]
    tables: dict[str, Any] = {}
    for level, methods in by_seed[0]["levels"].items():
        tables[level] = {}
        for method in methods:
            values = np.stack([recalls["levels"][level][method] for recalls in by_seed])
            defined = ~np.isnan(values).any(axis=0)
            if not defined.any():
                continue
            labels = [label for label, known in zip(clusters, defined, strict=True) if known]
            mean = estimate(values.mean(axis=0)[defined], labels, params.bootstrap, params.seed)
            own = [float(cluster_means(row[defined], labels).mean()) for row in values]
            tables[level][method] = asdict(mean) | {"seeds": own}
    return tables


def headlines(report: Mapping[str, Any], preset: str) -> list[Headline]:
    """Return the rows of metrics/summary.json: R@1 in the whole index, by level and method."""
    levels = report["searched"]["all"]
    return [
        Headline(
            name=f"bench.probes_{name}_{level}_r_at_1_unseen",
            value=levels[level][method]["value"],
            low=levels[level][method]["low"],
            high=levels[level][method]["high"],
            n=levels[level][method]["n"],
            preset=preset,
        )
        for name, method in HEADLINES.items()
        for level in levels
        if method in levels[level]
    ]


def print_tables(report: Mapping[str, Any]) -> None:
    """Print R@1 by searched pool, level and method."""
    for searched, levels in report["searched"].items():
        for level, methods in levels.items():
            print(f"\nR@1 (0 to 1), level {level}, searched: {searched} adapters")
            for name, row in methods.items():
                seeds = " ".join(f"{value:.3f}" for value in row["seeds"])
                print(
                    f"  {name:26} {row['value']:6.3f} [{row['low']:.3f}, {row['high']:.3f}]"
                    f"  {row['n']} queries, {row['clusters']} adapters; by seed {seeds}"
                )
    times = ", ".join(f"{probe} {value:.0f}" for probe, value in report["CPU seconds of training"].items())
    print(f"\nCPU seconds of training: {times}")


if __name__ == "__main__":
    main()
