"""Measure retrieval: queries are captions of adapters unseen in training, the pool is the whole index.

The queries are those of one split: `test` to report, `validation` to choose params.
"""

import datetime
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from autolora.dataset import store as dataset
from autolora.dataset.families import Split
from autolora.encoder import store as encoder_store
from autolora.encoder.model import Encoder, TextEncoder, embed_texts, min_agreement
from autolora.errors import MissingArtifact
from autolora.evaluation.store import metrics_path, report_path
from autolora.index import store as index
from autolora.metrics.benchmark import (
    Benchmark,
    EmbeddedCaption,
    Query,
    relevant_by_level,
    sum_captions,
)
from autolora.metrics.comparison import (
    compare_in_unseen_index,
    compare_methods,
    example_searches,
    index_health,
    search_index,
)
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json
from autolora.metrics.summary import Headline, update
from autolora.params import EvaluationParams
from autolora.storage.arrays import Float32Array
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import read_digest, write_digest

SCHEMA = 2
COMMAND = "python -m flows.evaluation"
UNSEEN_INDEX = "unseen index"
"""key of the tables of an index that holds only the adapters unseen in training"""
TEXTS_AT_ONCE = 8192
"""texts whose vectors are in memory at once; a multiple of models.TEXTS_PER_BATCH, so that batches are full"""

logger = logging.getLogger(__name__)


def evaluate(
    root: Path, params: EvaluationParams, text_encoder: TextEncoder, preset: str, today: datetime.date
) -> str:
    """Evaluate the working index and write this stage's part of the report; return the digest.

    preset: of the encoder, for the rows of metrics/summary.json.
    Raises MissingArtifact when an earlier stage has not run, MismatchError when index and text encoder
    do not belong together.
    """
    judgments = read_judgments(root / params.themes if params.themes else None)
    themes = {sha256: judgment.theme for sha256, judgment in judgments.items()}
    benchmark = build_benchmark(root, text_encoder, themes, params.split)
    logger.info("%d queries, %d adapters", len(benchmark.queries), len(benchmark.adapters))
    inputs = {stage: read_digest(root, stage)["sha256"] for stage in ("dataset", "index")}
    return write(root, benchmark, params, inputs, preset, today)


def build_benchmark(
    root: Path, text_encoder: TextEncoder, themes: Mapping[str, str], split: Split
) -> Benchmark:
    """Read the index and the captions of its adapters, and embed captions and queries.

    Raises MissingArtifact if the index is empty, MismatchError if its vectors were computed by another encoder.
    """
    adapters, vectors = index.read_vectors(root, "weights_vector")
    if not adapters:
        raise MissingArtifact(
            "the index holds no adapter, so there is nothing to evaluate: the pool is empty; check crawl.filters"
        )
    rows = dataset.rows(root, "adapters", ("sha256", "renderings"))
    renderings = {row["sha256"]: tuple(row["renderings"]) for row in rows}
    queries = unseen_queries(root, {sha256: renderings[sha256] for sha256 in adapters}, split)
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    captions = list_captions(root, adapters, renderings)
    embedded = embed_captions(encoder, text_encoder, captions)
    return Benchmark(
        adapters=adapters,
        adapter_vectors=vectors,
        captions=sum_captions(
            embedded, (len(adapters), encoder.config.width), {query.image for query in queries}
        ),
        queries=queries,
        query_vectors=embed_queries(encoder, text_encoder, queries),
        themes={sha256: themes[sha256] for sha256 in adapters if sha256 in themes},
        min_agreement=min_agreement(encoder),
        training=frozenset(row.sha256 for row in dataset.training_lock(root).in_split("train")),
    )


def embed_captions(
    encoder: Encoder, text_encoder: TextEncoder, captions: Sequence[tuple[int, str, str]]
) -> Iterator[EmbeddedCaption]:
    """Yield captions (position of the adapter, image sha256, text) with their vectors, TEXTS_AT_ONCE at a time."""
    for start in range(0, len(captions), TEXTS_AT_ONCE):
        part = captions[start : start + TEXTS_AT_ONCE]
        vectors = embed_texts(encoder, text_encoder, [text for _, _, text in part])
        for (adapter, image, _), vector in zip(part, vectors, strict=True):
            yield EmbeddedCaption(adapter, image, vector)


def embed_queries(encoder: Encoder, text_encoder: TextEncoder, queries: Sequence[Query]) -> Float32Array:
    """Return the vectors of the queries (Q, d), in the precision in which they are computed."""
    vectors = np.empty((len(queries), encoder.config.width), dtype=np.float32)
    for start in range(0, len(queries), TEXTS_AT_ONCE):
        texts = [query.text for query in queries[start : start + TEXTS_AT_ONCE]]
        vectors[start : start + len(texts)] = embed_texts(encoder, text_encoder, texts)
    return vectors


def list_captions(
    root: Path, adapters: Iterable[str], renderings: Mapping[str, Sequence[str]]
) -> list[tuple[int, str, str]]:
    """Return (position of the adapter, image sha256, text) of every caption of the adapters' renderings."""
    captions = dataset.captions_by_image(root)
    return [
        (position, image, caption.text)
        for position, sha256 in enumerate(adapters)
        for image in renderings[sha256]
        for caption in captions.get(image, ())
    ]


def unseen_queries(root: Path, renderings: Mapping[str, Sequence[str]], split: Split) -> tuple[Query, ...]:
    """Return the queries: captions of renderings (`renderings`, by adapter) of adapters of a split, unseen in training.

    A rendering that a training adapter shows too is skipped, since the encoder was trained on its captions.
    """
    adapters_by_image: dict[str, list[str]] = {}
    for sha256, images in renderings.items():
        for image in images:
            adapters_by_image.setdefault(image, []).append(sha256)
    training = dataset.training_lock(root).in_split("train")
    training_images = {image for row in training for image in row.renderings}
    return tuple(
        Query(prompt.text, prompt.image, tuple(adapters_by_image[prompt.image]))
        for prompt in dataset.prompts(root)
        if prompt.split == split and prompt.image in adapters_by_image and prompt.image not in training_images
    )


def measure(benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Return the content of the report, rounded: tables by level, index health, example searches, counts."""
    relevant = relevant_by_level(benchmark)
    searches = search_index(benchmark, relevant, params.ks)
    report = {
        "levels": compare_methods(benchmark, searches, relevant, params),
        UNSEEN_INDEX: compare_in_unseen_index(benchmark, params),
        "health": index_health(benchmark, searches, params.ks),
        "examples": example_searches(benchmark, searches, params.seed),
        "themes": benchmark.themes,
        "indexed_adapters": len(benchmark.adapters),
        "queries": len(benchmark.queries),
        "queried_adapters": len({query.adapters[0] for query in benchmark.queries}),
        "bootstrap": params.bootstrap,
        "metrics": [*(f"R@{k}" for k in params.ks), "MRR"],
    }
    content: dict[str, Any] = rounded(report)
    return content


def headlines(report: Mapping[str, Any], preset: str, split: Split) -> list[Headline]:
    """Return the rows of metrics/summary.json: each method's metrics at the levels `theme` and `adapter`, and its R@1
    at the others and in the index of unseen adapters.

    The encoder's names have no prefix: retrieval.theme_r_at_1_unseen, retrieval.random_theme_r_at_1_unseen, …
    Those of the validation split end in `validation` instead.
    """
    suffix = "unseen" if split == "test" else split
    tables = report["levels"] | {
        f"{UNSEEN_INDEX} {name}": level for name, level in report[UNSEEN_INDEX].items()
    }
    rows = []
    for level, table in tables.items():
        for method, metrics in table["methods"].items():
            prefix = "" if method == "encoder" else f"{method} "
            for metric, estimate in metrics.items():
                if metric == "R@1" or level in ("theme", "adapter"):
                    name = f"{prefix}{level} {metric} {suffix}".lower().replace("@", "_at_").replace(" ", "_")
                    numbers = {field: estimate[field] for field in ("value", "low", "high", "n")}
                    rows.append(Headline(name=f"retrieval.{name}", preset=preset, **numbers))
    return rows


def write(
    root: Path,
    benchmark: Benchmark,
    params: EvaluationParams,
    inputs: Mapping[str, str],
    preset: str,
    today: datetime.date,
) -> str:
    """Write report.json, the metrics and, last, the digest; return the digest.

    inputs: digests of what was evaluated. The digest excludes the results, which differ between processors.
    """
    report = measure(benchmark, params) | {"inputs": dict(inputs)}
    write_atomic(report_path(root), to_json(report))
    names = ("levels", UNSEEN_INDEX, "health", "indexed_adapters", "queries", "queried_adapters")
    numbers = {name: report[name] for name in names}
    numbers["health"] = {name: value for name, value in report["health"].items() if name != "most_retrieved"}
    write_atomic(metrics_path(root), to_json(numbers))
    counts = {name: report[name] for name in ("queries", "queried_adapters", "indexed_adapters")}
    themes = len(set(benchmark.themes.values()))
    update(root, COMMAND, today, headlines(report, preset, params.split), counts | {"themes": themes})
    exact = ("inputs", "themes", "indexed_adapters", "queries", "queried_adapters")
    rows = {name: hash_value(report[name]) for name in exact} | {"params": hash_value(asdict(params))}
    return write_digest(root, "evaluation", rows, SCHEMA)
