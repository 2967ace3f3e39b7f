"""What spoiled captions do to the index: `python -m bench.spoiled_captions` (after `make demo`).

The captions of all adapters unseen in training are removed, reduced to one each, or exchanged, so that each has those
of another one. The queries are the right captions, as in the stage `evaluation`; a query about a rendering whose
caption another adapter has received meets that caption there. Measured are theme R@1 of the weights alone, the caption
centroid, and the hybrid with and without the rule that captions which contradict the weights do not count; and how well
that rule tells exchanged captions from right ones. Exchanges are the mean of three seeds. Intervals resample adapters.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from autolora import models
from autolora.encoder import store as encoder_store
from autolora.encoder.model import TextEncoder
from autolora.errors import exit_on_error
from autolora.evaluation.benchmark import build_benchmark, embed_captions, list_captions
from autolora.metrics.benchmark import (
    Benchmark,
    EmbeddedCaption,
    relevant_by_level,
    sum_captions,
    unseen_index,
)
from autolora.metrics.bootstrap import estimate
from autolora.metrics.comparison import search
from autolora.metrics.judgments import read_judgments
from autolora.metrics.methods import Scores, encoder_scores, hybrid_scores
from autolora.metrics.retrieval import recall
from autolora.metrics.summary import Headline, update
from autolora.params import EvaluationParams, load
from autolora.storage.arrays import Float64Array, Int64Array
from bench.timing import today

COMMAND = "python -m bench.spoiled_captions"
SEEDS = (0, 1, 2)
ALL_COUNT = -np.inf
"""a margin that no captions fail"""
Captions = Sequence[EmbeddedCaption]
Table = dict[str, dict[str, Any]]


def main() -> None:
    """Measure, print the tables, and write the metrics of the test split."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="of the queries")
    options = parser.parse_args()
    params = load(options.root / "params.yaml")
    models.set_threads(params.models)
    text_encoder = models.load_text_encoder(params.models)
    path = params.evaluation.themes
    themes = {
        sha256: row.theme for sha256, row in read_judgments(options.root / path if path else None).items()
    }
    benchmark = build_benchmark(options.root, text_encoder, themes, options.split)
    captions = read_captions(options.root, benchmark, text_encoder)
    recalls = compare(benchmark, captions, params.evaluation)
    found = detect(benchmark, captions)
    print(to_markdown(recalls, found))
    if options.split == "test":
        rows = headlines(recalls, found, params.encoder.preset)
        update(
            options.root, COMMAND, today(), rows, {"theme R@1": recalls, "exchanged captions found": found}
        )


def read_captions(root: Path, benchmark: Benchmark, text_encoder: TextEncoder) -> list[EmbeddedCaption]:
    """Return all captions of the pool."""
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    return list(embed_captions(encoder, text_encoder, list_captions(root, benchmark.adapters)))


def unseen_adapters(benchmark: Benchmark) -> list[int]:
    """Return the positions of the adapters that the encoder was not trained on."""
    return [row for row, sha256 in enumerate(benchmark.adapters) if sha256 not in benchmark.training]


def keep_first(captions: Captions, unseen: Sequence[int], count: int) -> list[EmbeddedCaption]:
    """Return the captions without all but the first `count` of each unseen adapter."""
    remaining = dict.fromkeys(unseen, count)
    kept = []
    for caption in captions:
        if caption.adapter not in remaining:
            kept.append(caption)
        elif remaining[caption.adapter]:
            remaining[caption.adapter] -= 1
            kept.append(caption)
    return kept


def exchange(captions: Captions, unseen: Sequence[int], seed: int) -> list[EmbeddedCaption]:
    """Return the captions with those of each unseen adapter moved to another unseen adapter: a derangement."""
    order = derangement(len(unseen), np.random.default_rng(seed))
    receivers = {giver: unseen[receiver] for giver, receiver in zip(unseen, order.tolist(), strict=True)}
    return [replace(caption, adapter=receivers.get(caption.adapter, caption.adapter)) for caption in captions]


def derangement(count: int, rng: np.random.Generator) -> Int64Array:
    """Return a random permutation without a fixed point. Raises ValueError below two items, which have none."""
    if count < 2:
        raise ValueError(f"{count} adapters unseen in training: at least two are needed to exchange captions")
    while True:
        order = rng.permutation(count)
        if (order != np.arange(count)).all():
            return order


def with_captions(benchmark: Benchmark, captions: Captions) -> Benchmark:
    """Return the benchmark of a pool with these captions."""
    images = {query.image for query in benchmark.queries}
    ordered = sorted(captions, key=lambda caption: (caption.adapter, caption.image))
    return replace(benchmark, captions=sum_captions(ordered, benchmark.captions.by_adapter.shape, images))


def centroid_scores(benchmark: Benchmark) -> Scores:
    """Return the caption centroid: the hybrid of weights of length 0. An adapter without captions scores 0."""
    weights = np.zeros_like(benchmark.adapter_vectors)
    return all_count_scores(replace(benchmark, adapter_vectors=weights))


def all_count_scores(benchmark: Benchmark) -> Scores:
    """Return the hybrid in which all captions count."""
    assert benchmark.rule is not None, "the index holds no hybrid vectors"
    return hybrid_scores(replace(benchmark, rule=replace(benchmark.rule, margin=ALL_COUNT)))


METHODS: Mapping[str, Callable[[Benchmark], Scores]] = {
    "weights alone": encoder_scores,
    "caption centroid": centroid_scores,
    "hybrid, all captions count": all_count_scores,
    "hybrid": hybrid_scores,
}
INDEXES: Mapping[str, Callable[[Benchmark], Benchmark]] = {
    "whole index": lambda benchmark: benchmark,
    "unseen index": unseen_index,
}


def compare(benchmark: Benchmark, captions: Captions, params: EvaluationParams) -> Table:
    """Return "captions, index" -> method -> theme R@1, mean over the variants of the captions."""
    unseen = unseen_adapters(benchmark)
    spoiled: dict[str, list[Captions]] = {
        "right": [captions],
        "one": [keep_first(captions, unseen, 1)],
        "none": [keep_first(captions, unseen, 0)],
        "exchanged": [exchange(captions, unseen, seed) for seed in SEEDS],
    }
    tables: Table = {}
    for name, variants in spoiled.items():
        for index, restrict in INDEXES.items():
            pools = [restrict(with_captions(benchmark, variant)) for variant in variants]
            tables[f"{name}, {index}"] = {
                method: theme_recall(pools, make, params) for method, make in METHODS.items()
            }
    return tables


def theme_recall(
    pools: Sequence[Benchmark], make: Callable[[Benchmark], Scores], params: EvaluationParams
) -> dict[str, Any]:
    """Return the estimate of a method's theme R@1, mean over pools with the same queries."""
    relevant = relevant_by_level(pools[0])["theme"]
    ranks = [search(pool, make(pool), {"theme": relevant}).ranks["theme"] for pool in pools]
    values = np.mean([recall(row, 1) for row in ranks], axis=0)
    known = ~np.isnan(values)
    clusters = np.array([query.adapters[0] for query in pools[0].queries])[known].tolist()
    return asdict(estimate(values[known], clusters, params.bootstrap, params.seed))


def detect(benchmark: Benchmark, captions: Captions) -> dict[str, float]:
    """Return how well the agreement of weights and captions tells exchanged captions from right ones.

    auc: probability that right captions agree more than exchanged ones. found, false_alarms: shares of exchanged and of
    right captions that do not count in the index.
    """
    unseen = unseen_adapters(benchmark)
    right = measure_margins(benchmark, captions, unseen)
    exchanged = np.concatenate(
        [measure_margins(benchmark, exchange(captions, unseen, seed), unseen) for seed in SEEDS]
    )
    higher = (right[:, None] > exchanged) + (right[:, None] == exchanged) / 2
    assert benchmark.rule is not None, "the index holds no hybrid vectors"
    return {
        "auc": float(higher.mean()),
        "found": float((exchanged < benchmark.rule.margin).mean()),
        "false_alarms": float((right < benchmark.rule.margin).mean()),
        "margin": benchmark.rule.margin,
        "right": len(right),
        "exchanged": len(exchanged),
    }


def measure_margins(benchmark: Benchmark, captions: Captions, unseen: Sequence[int]) -> Float64Array:
    """Return by how much weights and captions agree more than an exact regression lets expect, for each unseen adapter
    with captions."""
    assert benchmark.rule is not None, "the index holds no hybrid vectors"
    rule = replace(benchmark.rule, margin=0.0)
    sums = with_captions(benchmark, captions).captions
    rows = [row for row in unseen if sums.renderings[row]]
    weights = benchmark.adapter_vectors[rows].astype(np.float64)
    of_adapters = sums.by_adapter[rows]
    return rule.agreements(weights, of_adapters) - rule.expected(weights, of_adapters)


def headlines(recalls: Table, found: Mapping[str, float], preset: str) -> list[Headline]:
    """Return the rows of metrics/summary.json: retrieval.captions_none_whole_index_weights_alone, …"""
    rows = [
        Headline(
            name=f"retrieval.captions_{case}_{method}".replace(", ", "_").replace(" ", "_"),
            preset=preset,
            **{field: row[field] for field in ("value", "low", "high", "n")},
        )
        for case, methods in recalls.items()
        for method, row in methods.items()
    ]
    counts = {"auc": found["exchanged"], "found": found["exchanged"], "false_alarms": found["right"]}
    return rows + [
        Headline(
            name=f"retrieval.exchanged_captions_{name}",
            value=found[name],
            n=int(count),
            better="lower" if name == "false_alarms" else "higher",
            goal=0.95 if name == "auc" else None,
            preset=preset,
        )
        for name, count in counts.items()
    ]


def to_markdown(recalls: Table, found: Mapping[str, float]) -> str:
    """Return a table, with a line per case, and a line about exchanged captions."""
    lines = [f"| captions | {' | '.join(METHODS)} |", "|---" * (len(METHODS) + 1) + "|"]
    for case, methods in recalls.items():
        cells = [f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" for row in methods.values()]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "exchanged captions: " + ", ".join(f"{k} {v:.3f}" for k, v in found.items())]
    )


if __name__ == "__main__":
    with exit_on_error():
        main()
