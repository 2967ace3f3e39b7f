"""Compact copies of the trained encoder beside it: `python -m bench.compact_encoder` (after `make demo`).

Each copy is written by `save_pretrained` with the text encoder, with the regression's weights as factors of one rank in
float16 or int8, and loaded again. Measured are its size, R@1 at the level `theme` on the queries of the stage
`evaluation`, by the weights alone and by weights and captions, the difference to the trained encoder on the same
queries, and the largest 1 - cosine of an adapter's vectors by both. Intervals resample adapters. Nothing in data/ is
written.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autolora import models
from autolora.encoder import store
from autolora.encoder.model import Encoder
from autolora.encoder.pretrained import PretrainedEncoder, load_pretrained, save_pretrained
from autolora.errors import exit_on_error
from autolora.evaluation.benchmark import make_benchmark, read_renderings, unseen_queries
from autolora.index.embedding import embed
from autolora.matching.hybrid import directions
from autolora.metrics.benchmark import Benchmark, relevant_by_level
from autolora.metrics.bootstrap import Estimate, estimate
from autolora.metrics.comparison import search
from autolora.metrics.judgments import read_judgments
from autolora.metrics.methods import Scores, encoder_scores, index_scores
from autolora.metrics.retrieval import recall
from autolora.metrics.summary import Headline, update
from autolora.params import EvaluationParams, Params, load
from autolora.pretrained.card import CardFacts
from autolora.pretrained.config import DType
from autolora.pretrained.training_set import read_training_set
from autolora.storage.arrays import Float64Array
from autolora.storage.files import MB
from bench.encoders import CachingTextEncoder
from bench.timing import today

COMMAND = "python -m bench.compact_encoder"
COPIES: Sequence[tuple[DType, int]] = (
    ("float16", 8), ("float16", 16), ("float16", 24), ("float16", 32), ("float16", 64), ("int8", 24), ("int8", 64)
)  # fmt: skip
"""precision and highest rank; the rank of the weights is below the number of training adapters"""
SHIPPED: tuple[DType, int] = ("int8", 64)
"""those of playground/encoder"""
GOAL_MB = 4


@dataclass(frozen=True, slots=True, eq=False)
class Recalls:
    """R@1 of each query (Q,) at the level `theme`."""

    weights: Float64Array
    index: Float64Array
    """of the vectors that the index stores, which may contain captions"""


@dataclass(frozen=True, slots=True)
class Row:
    """One copy."""

    dtype: DType
    rank: int
    """of the factors"""
    megabytes: float
    weights: Estimate
    weights_loss: Estimate
    """R@1 less that of the trained encoder"""
    index: Estimate
    index_loss: Estimate
    max_distance: float
    """largest 1 - cosine of an adapter's vectors, of its weights"""


def main() -> None:
    """Measure, print the table, and write the rows of metrics/summary.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("."), help="repository")
    options = parser.parse_args()
    params = load(options.root / "params.yaml")
    rows = dict(zip(COPIES, measure(options.root, params), strict=True))
    print(to_markdown(list(rows.values())))
    update(options.root, COMMAND, today(), headlines(rows[SHIPPED], params.encoder.preset))


def measure(root: Path, params: Params) -> Iterator[Row]:
    """Yield the measurements of the copies."""
    models.set_threads(params.models)
    text_encoder = CachingTextEncoder(models.load_text_encoder(params.models))
    trained = store.load_encoder(store.folder(root))
    reference = build_benchmark(root, params, trained, text_encoder)
    expected = measure_recall(reference)
    clusters = [query.adapters[0] for query in reference.queries]
    for dtype, rank in COPIES:
        copy, size = write_copy(root, params, trained, dtype, rank)
        benchmark = build_benchmark(root, params, copy.encoder, text_encoder)
        recalls = measure_recall(benchmark)
        yield Row(
            dtype,
            copy.config.rank or 0,
            size / MB,
            *estimate_loss(recalls.weights, expected.weights, clusters, params.evaluation),
            *estimate_loss(recalls.index, expected.index, clusters, params.evaluation),
            max_distance(reference.adapter_vectors, benchmark.adapter_vectors),
        )


def write_copy(
    root: Path, params: Params, encoder: Encoder, dtype: DType, rank: int
) -> tuple[PretrainedEncoder, int]:
    """Write an encoder with factors of a rank, load it, and return it with the bytes of the folder."""
    facts = CardFacts(name="copy", license="apache-2.0", base_model=None, metrics={})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_pretrained(
            folder,
            encoder,
            read_training_set(root, "encoder"),
            facts,
            dtype=dtype,
            rank=rank,
            pipeline=params.models,
        )
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        return load_pretrained(folder), size


def build_benchmark(
    root: Path, params: Params, encoder: Encoder, text_encoder: CachingTextEncoder
) -> Benchmark:
    """Return the benchmark of the test queries, all adapters of the dataset embedded by this encoder."""
    renderings = read_renderings(root)
    adapters, read = tuple(sorted(renderings)), store.reader(root, encoder.config, params.pool)
    vectors = embed(encoder, map(read, adapters), torch.device("cpu"))
    path = params.evaluation.themes
    judgments = read_judgments(root / path if path else None)
    themes = {sha256: judgment.theme for sha256, judgment in judgments.items()}
    queries = unseen_queries(root, renderings, "test")
    return make_benchmark(root, encoder, text_encoder, (adapters, vectors), queries, themes)


def measure_recall(benchmark: Benchmark) -> Recalls:
    """Return R@1 of each query, by the weights alone and by the index's vectors."""
    relevant = {"theme": relevant_by_level(benchmark)["theme"]}

    def recall_of(scores: Scores) -> Float64Array:
        return recall(search(benchmark, scores, relevant).ranks["theme"], 1)

    return Recalls(recall_of(encoder_scores(benchmark)), recall_of(index_scores(benchmark)))


def estimate_loss(
    recalls: Float64Array, expected: Float64Array, clusters: Sequence[str], params: EvaluationParams
) -> tuple[Estimate, Estimate]:
    """Return the mean of R@1 (Q,) and of its difference to the expected one, over the queries that have both."""
    known = ~np.isnan(recalls) & ~np.isnan(expected)
    labels = [label for label, is_known in zip(clusters, known, strict=True) if is_known]
    return (
        estimate(recalls[known], labels, params.bootstrap, params.seed),
        estimate((recalls - expected)[known], labels, params.bootstrap, params.seed),
    )


def max_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest 1 - cosine of two rows (N, d) of the same adapter."""
    cosines = (directions(first.astype(np.float64)) * directions(second.astype(np.float64))).sum(axis=1)
    return float(1 - cosines.min())


def headlines(row: Row, preset: str) -> list[Headline]:
    """Return the rows of metrics/summary.json."""
    queries = row.weights.n
    estimates = {
        "theme_r_at_1": row.weights,
        "theme_r_at_1_loss": row.weights_loss,
        "hybrid_theme_r_at_1": row.index,
        "hybrid_theme_r_at_1_loss": row.index_loss,
    }
    return [
        Headline(
            name="reach.compact_encoder_megabytes", value=row.megabytes, n=1, better="lower", goal=GOAL_MB
        ),
        Headline(
            name="reach.compact_encoder_max_distance", value=row.max_distance, n=queries, better="lower"
        ),
        *(
            Headline(
                name=f"reach.compact_encoder_{name}",
                value=value.value,
                low=value.low,
                high=value.high,
                n=value.n,
                preset=preset,
            )
            for name, value in estimates.items()
        ),
    ]


def to_markdown(rows: Sequence[Row]) -> str:
    """Return a table with a line per rank."""
    lines = [
        "| precision | rank | MB | R@1, weights | less trained | R@1, index | less trained | largest 1 - cosine |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        estimates = map(_quote, (row.weights, row.weights_loss, row.index, row.index_loss))
        lines.append(
            f"| {row.dtype} | {row.rank} | {row.megabytes:.2f} | {' | '.join(estimates)} | {row.max_distance:.2g} |"
        )
    return "\n".join(lines)


def _quote(value: Estimate) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


if __name__ == "__main__":
    with exit_on_error():
        main()
