"""Sketch against full: the preset `best` trained by both probes, asked for adapters unseen in training.

Queries are captions of unseen adapters' renderings, as in the stage `evaluation`. Nothing in data/ is written.
R@1 is a mean over seeds and, first, over each adapter's queries; intervals resample adapters.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autolora import models
from autolora.dataset import store as dataset
from autolora.encoder import model, training
from autolora.encoder import model as encoder_model
from autolora.encoder import store as encoder_store
from autolora.encoder.model import Encoder
from autolora.evaluation import stage as evaluation
from autolora.metrics.benchmark import (
    Benchmark,
    Query,
    centroid_scores,
    chance,
    encoder_scores,
    outcome,
    right_answers,
)  # fmt: skip
from autolora.metrics.bootstrap import cluster_means, estimate
from autolora.metrics.judgments import read_judgments
from autolora.params import Params, load
from autolora.pool import store as pool

ROOT = Path(__file__).parents[1]
PROBES = ("sketch", "full")
SEARCHED = ("all", "unseen")
K = (1,)

Floats = NDArray[np.float64]


class Remembered:
    """A text encoder that encodes each text once."""

    def __init__(self, encoder: encoder_model.TextEncoder) -> None:
        self.encoder, self.width, self.digest = encoder, encoder.width, encoder.digest
        self.known: dict[str, torch.Tensor] = {}

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Return features (N, d)."""
        if new := [text for text in dict.fromkeys(texts) if text not in self.known]:
            self.known |= dict(zip(new, self.encoder.encode(new), strict=True))
        return torch.stack([self.known[text] for text in texts])


def main() -> None:
    """Train, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--root", type=Path, default=ROOT)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--steps", type=int, help="in place of encoder.steps")
    arguments.add_argument("--json", type=Path, help="file to write the numbers to")
    given = arguments.parse_args()
    found = compare(given.root, load(given.root / "params.yaml"), given.seeds, given.steps)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    print_tables(found)


def compare(root: Path, params: Params, seeds: Sequence[int], steps: int | None = None) -> dict[str, Any]:
    """Return searched set -> level -> method -> value, low, high, n, clusters; and the CPU seconds of training."""
    models.set_threads(params.models)
    tower = Remembered(models.load_text_encoder(params.models))
    scores: dict[str, list[dict[str, Any]]] = {searched: [] for searched in SEARCHED}
    seconds: dict[str, list[float]] = {probe: [] for probe in PROBES}
    for seed in seeds:
        trained = {}
        for probe in PROBES:
            section = replace(params.encoder, preset="best", probe=probe, seed=seed)
            section = section if steps is None else replace(section, steps=steps)
            started = time.process_time()
            trained[probe] = train(root, params, section, tower)
            seconds[probe].append(time.process_time() - started)
        for searched in SEARCHED:
            scores[searched].append(measure(root, params, trained, tower, searched))
    tables = {searched: estimates(found, params) for searched, found in scores.items()}
    return {
        "searched": tables,
        "seeds": list(seeds),
        "CPU seconds of training": {probe: float(np.mean(times)) for probe, times in seconds.items()},
    }


def train(root: Path, params: Params, section: Any, tower: Remembered) -> tuple[Encoder, Any]:
    """Return a trained encoder and what reads adapters for it."""
    encoder = training.build(root, section, models.transformer_config(params.models), tower)
    read = lru_cache(maxsize=None)(encoder_store.reader(root, encoder.config, params.pool))
    for _ in training.fit(encoder, training.examples(root), read, tower, section):
        pass
    return encoder, read


def measure(
    root: Path, params: Params, trained: dict[str, tuple[Encoder, Any]], tower: Remembered, searched: str
) -> dict[str, Any]:
    """Return level -> method -> R@1 of each query (Q,), and the adapter that each query belongs to."""
    benchmarks = {
        probe: gather(root, params, encoder, read, tower, searched)
        for probe, (encoder, read) in trained.items()
    }
    sketch = benchmarks["sketch"]
    scores = {f"encoder, {probe}": encoder_scores(one) for probe, one in benchmarks.items()}
    scores["caption centroid"] = centroid_scores(sketch)
    scores["nearest raw sketch"] = sketch_scores(root, sketch, trained["sketch"][0], tower)
    levels: dict[str, Any] = {}
    for level, right in right_answers(sketch).items():
        levels[level] = {name: outcome(values, right, K)["R@1"] for name, values in scores.items()}
        levels[level]["sketch minus full"] = levels[level]["encoder, sketch"] - levels[level]["encoder, full"]
        levels[level]["chance"] = chance(right, K)["R@1"]
    if "theme" in levels:
        answers = right_answers(sketch)
        alike = answers["theme"].sum(axis=1)
        ceiling = np.where(alike > 0, answers["adapter"].sum(axis=1) / np.maximum(alike, 1), np.nan)
        levels["adapter"]["ceiling within the theme"] = np.minimum(ceiling, 1.0)
    return {"levels": levels, "clusters": [query.right[0] for query in sketch.queries]}


def gather(
    root: Path, params: Params, encoder: Encoder, read: Any, tower: Remembered, searched: str
) -> Benchmark:
    """Return the benchmark of an encoder over all adapters, or over those unseen in training."""
    rows = {row["sha256"]: row for row in dataset.rows(root, "adapters")}
    learned = {row.sha256 for row in dataset.training(root).of("train")}
    adapters = tuple(sorted(sha256 for sha256 in rows if searched == "all" or sha256 not in learned))
    shown = {sha256: tuple(row["renderings"]) for sha256, row in rows.items()}
    spoken = dataset.captions_of(root)
    captions = [
        (place, image, caption.text)
        for place, sha256 in enumerate(adapters)
        for image in shown[sha256]
        for caption in spoken.get(image, ())
    ]
    queries = kept(evaluation.ask(root, shown), set(adapters))
    texts = model.embed_texts(encoder, tower, [text for *_, text in captions])
    path = params.evaluation.themes
    judged = read_judgments(root / path if path else None)
    return Benchmark(
        adapters=adapters,
        vectors=np.stack([embed(encoder, read(sha256)) for sha256 in adapters]),
        captions=tuple((p, i, v) for (p, i, _), v in zip(captions, texts, strict=True)),
        queries=queries,
        embedded=model.embed_texts(encoder, tower, [query.text for query in queries]),
        themes={sha256: judged[sha256].theme for sha256 in adapters if sha256 in judged},
    )


def kept(queries: Sequence[Query], adapters: set[str]) -> tuple[Query, ...]:
    """Return the queries with their right answers among these adapters, without those that have none."""
    found = (replace(query, right=tuple(s for s in query.right if s in adapters)) for query in queries)
    return tuple(query for query in found if query.right)


def embed(encoder: Encoder, updates: Any) -> Floats:
    """Return the unit vector (d,) of one adapter."""
    with torch.inference_mode():
        vector: Floats = encoder.embed(updates.values, updates.present)[0].double().numpy()
    return vector


def sketch_scores(root: Path, benchmark: Benchmark, encoder: Encoder, tower: Remembered) -> Floats:
    """Return, untrained, the cosine of each adapter's raw sketch with that of the query's training adapter (Q, N).

    That is the adapter of the training set whose captions, on average, are nearest to the query.
    """
    learned = training.examples(root)
    centers = np.stack([model.embed_texts(encoder, tower, one.texts).mean(axis=0) for one in learned])
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    nearest = (benchmark.embedded @ centers.T).argmax(axis=1)
    anchors = raw(root, [one.sha256 for one in learned])
    scores: Floats = (anchors @ raw(root, benchmark.adapters).T)[nearest]
    return scores


def raw(root: Path, adapters: Sequence[str]) -> Floats:
    """Return the sketches of adapters as unit rows (N, S·m·p)."""
    rows = np.stack([pool.load_sketch(root, sha256).values.flatten().numpy() for sha256 in adapters])
    unit: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def estimates(found: Sequence[dict[str, Any]], params: Params) -> dict[str, Any]:
    """Return level -> method -> estimate of the mean over seeds, and each seed's own value."""
    tables: dict[str, Any] = {}
    for level, methods in found[0]["levels"].items():
        tables[level] = {}
        for method in methods:
            seeds = np.stack([one["levels"][level][method] for one in found])
            counts = ~np.isnan(seeds).any(axis=0)
            if not counts.any():
                continue
            of = [name for name, known in zip(found[0]["clusters"], counts, strict=True) if known]
            mean = estimate(
                seeds.mean(axis=0)[counts], of, params.evaluation.bootstrap, params.evaluation.seed
            )
            tables[level][method] = {
                "value": mean.value,
                "low": mean.low,
                "high": mean.high,
                "n": mean.n,
                "clusters": mean.clusters,
                "seeds": [float(cluster_means(one[counts], of).mean()) for one in seeds],
            }
    return tables


def print_tables(found: dict[str, Any]) -> None:
    """Print R@1 by searched set, level and method."""
    for searched, levels in found["searched"].items():
        for level, methods in levels.items():
            print(f"\nR@1, {level}, searched: {searched} adapters")
            for name, one in methods.items():
                seeds = " ".join(f"{value:.3f}" for value in one["seeds"])
                print(
                    f"  {name:26} {one['value']:6.3f} [{one['low']:.3f}, {one['high']:.3f}]"
                    f"  n {one['n']}, adapters {one['clusters']}; seeds {seeds}"
                )
    times = ", ".join(f"{probe} {value:.0f}" for probe, value in found["CPU seconds of training"].items())
    print(f"\ntraining, CPU seconds: {times}")


if __name__ == "__main__":
    main()
