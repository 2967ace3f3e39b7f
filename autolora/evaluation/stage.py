"""Is retrieval right? Captions of adapters unseen in training as queries, the whole index as the pool."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.model import TextEncoder, embed_texts
from autolora.errors import MissingArtifact
from autolora.index import store as index
from autolora.metrics.benchmark import Benchmark, Query, compare, gallery, health
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json
from autolora.params import EvaluationParams
from autolora.storage.files import hash_value, write_atomic
from autolora.storage.incremental import read_digest, write_digest
from autolora.storage.tables import read_table

SCHEMA = 1

logger = logging.getLogger(__name__)


def evaluate(root: Path, params: EvaluationParams, text_encoder: TextEncoder) -> str:
    """Evaluate the working index and write this stage's half of the report; return the digest.

    Raises MissingArtifact when a stage before this one has not run, MismatchError when index and text encoder
    do not belong together.
    """
    judgments = read_judgments(root / params.themes if params.themes else None)
    themes = {sha256: judgment.theme for sha256, judgment in judgments.items()}
    benchmark = gather(root, text_encoder, themes)
    logger.info("%d queries, %d adapters", len(benchmark.queries), len(benchmark.adapters))
    facts = {stage: read_digest(root, stage)["sha256"] for stage in ("dataset", "index")}
    return write(root, benchmark, params, facts)


def gather(root: Path, text_encoder: TextEncoder, themes: Mapping[str, str]) -> Benchmark:
    """Read the pool of the index with its captions, and the queries.

    Raises MissingArtifact when the index is empty.
    """
    stored = read_table(index.folder(root), index.TABLE, ["sha256", "vector"])
    if not stored:
        raise MissingArtifact("the index holds no adapter: the pool is empty; check crawl.filters")
    adapters = tuple(row["sha256"] for row in stored)
    shown = {row["sha256"]: tuple(row["renderings"]) for row in dataset.rows(root, "adapters")}
    spoken = dataset.captions_of(root)
    captions = [
        (place, image, caption.text)
        for place, sha256 in enumerate(adapters)
        for image in shown[sha256]
        for caption in spoken.get(image, ())
    ]
    queries = ask(root, {sha256: shown[sha256] for sha256 in adapters})
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    vectors = embed_texts(encoder, text_encoder, [text for _, _, text in captions])
    return Benchmark(
        adapters=adapters,
        vectors=np.array([row["vector"] for row in stored], dtype=np.float64),
        captions=tuple((p, i, v) for (p, i, _), v in zip(captions, vectors, strict=True)),
        queries=queries,
        embedded=embed_texts(encoder, text_encoder, [query.text for query in queries]),
        themes={sha256: themes[sha256] for sha256 in adapters if sha256 in themes},
    )


def ask(root: Path, shown: Mapping[str, Sequence[str]]) -> tuple[Query, ...]:
    """Return the queries: captions of renderings (`shown`, by adapter) of adapters unseen in training.

    A rendering that a training adapter shows too makes no query: its captions were learned from.
    """
    makers: dict[str, list[str]] = {}
    for sha256, images in shown.items():
        for image in images:
            makers.setdefault(image, []).append(sha256)
    learned = {image for row in dataset.training(root).of("train") for image in row.renderings}
    return tuple(
        Query(prompt.text, prompt.image, tuple(makers[prompt.image]))
        for prompt in dataset.prompts(root)
        if prompt.image in makers and prompt.image not in learned
    )


def measure(benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Return the numbers of the report, rounded: tables by level, health of the index, gallery, counts."""
    unseen = {query.right[0] for query in benchmark.queries}
    report = {
        "levels": compare(benchmark, params),
        "health": health(benchmark, params.ks),
        "gallery": gallery(benchmark, params.seed),
        "themes": benchmark.themes,
        "pool": len(benchmark.adapters),
        "queries": len(benchmark.queries),
        "adapters": len(unseen),
        "bootstrap": params.bootstrap,
        "metrics": [*(f"R@{k}" for k in params.ks), "MRR"],
    }
    content: dict[str, Any] = rounded(report)
    return content


def write(root: Path, benchmark: Benchmark, params: EvaluationParams, facts: Mapping[str, str]) -> str:
    """Write report.json, the metrics and, last, the digest; return the digest.

    facts: digests of what was evaluated.
    """
    report = measure(benchmark, params) | {"of": dict(facts)}
    folder = root / "data" / "evaluation"
    write_atomic(folder / "report.json", to_json(report))
    numbers = {key: report[key] for key in ("levels", "health", "pool", "queries", "adapters")}
    numbers["health"] = {key: value for key, value in report["health"].items() if key != "busiest"}
    write_atomic(root / "metrics" / "evaluation.json", to_json(numbers))
    rows = {key: hash_value(value) for key, value in report.items()}
    return write_digest(root, "evaluation", rows, SCHEMA)
