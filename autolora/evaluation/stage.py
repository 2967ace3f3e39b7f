"""Measure the search that users get: queries are captions of adapters unseen in training, in the whole index.

The queries are those of one split: `test` to report, `validation` to choose params. Baselines stand beside the search.
"""

import datetime
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from autolora.dataset.families import Split
from autolora.encoder import store as encoder_store
from autolora.encoder.caching import CachingTextEncoder
from autolora.encoder.model import TextEncoder
from autolora.evaluation.benchmark import build_benchmark, explain_no_query
from autolora.evaluation.search import WithoutRenderings, search_ranks
from autolora.evaluation.store import SEARCH, metrics_path, report_path
from autolora.index.encoder_check import check_encoder
from autolora.index.evidence import EvidenceReader, evidence_reader
from autolora.index.served import open_copy_of
from autolora.index.store import content_digest
from autolora.matching.parts import split_parts, wanted_text
from autolora.metrics.benchmark import Benchmark, relevant_by_level
from autolora.metrics.comparison import compare_ranks, ranks_by_level
from autolora.metrics.judgments import read_judgments
from autolora.metrics.methods import Scores, caption_centroid_scores, weights_scores
from autolora.metrics.numbers import rounded, to_json
from autolora.metrics.summary import Headline, update
from autolora.params import EvaluationParams, Params
from autolora.search.retriever import Retriever
from autolora.storage.arrays import Float64Array
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import read_digest, write_digest
from autolora.text_encoder.sentences import SentenceEncoder

SCHEMA = 4
COMMAND = "python -m flows.evaluation"

logger = logging.getLogger(__name__)


def evaluate(
    root: Path,
    params: Params,
    text_encoder: TextEncoder,
    sentences: SentenceEncoder | None,
    today: datetime.date,
) -> str:
    """Evaluate the working index and write this stage's part of the report; return the digest.

    sentences: the sentence encoder of the language, if there is one. Raises MissingArtifact when an earlier stage has
    not run, MismatchError when index and text encoder do not belong together.
    """
    section = params.evaluation
    judgments = read_judgments(root / section.themes if section.themes else None)
    themes = {sha256: judgment.theme for sha256, judgment in judgments.items()}
    index = open_copy_of(root, content_digest(root))
    check_encoder(root, index)
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    text_encoder = CachingTextEncoder(text_encoder)  # captions are read again for each query about them
    benchmark = build_benchmark(root, index, encoder, text_encoder, themes, section.split)
    logger.info("%d queries, %d adapters", len(benchmark.queries), len(benchmark.adapters))
    inputs = {stage: read_digest(root, stage)["sha256"] for stage in ("dataset", "index")}
    unmeasured = "" if benchmark.queries else explain_no_query(root, benchmark.adapters, section.split)
    if unmeasured:
        logger.warning(unmeasured)
    cached = sentences and CachingTextEncoder(sentences)
    if cached:  # at once, which takes a quarter of the time
        cached.encode(
            [
                text
                for query in benchmark.queries
                for text in (*split_parts(query.text), wanted_text(query.text))
            ]
        )
    reader = evidence_reader(encoder, text_encoder, index.language, cached)
    retriever = Retriever(index, text_encoder, params, sentences=cached)
    ranks = rank_methods(root, benchmark, retriever, reader)
    preset = params.encoder.preset if params.encoder.from_ is None else "published"
    return write(
        root, measure(benchmark, ranks, section), benchmark.themes, section, inputs, preset, today, unmeasured
    )


def rank_methods(
    root: Path, benchmark: Benchmark, retriever: Retriever, reader: EvidenceReader
) -> dict[str, dict[str, Float64Array]]:
    """Return method -> level -> rank (Q,) of each query's first relevant adapter: the search, and baselines."""
    relevant = relevant_by_level(benchmark)
    baselines: dict[str, Scores] = {
        "caption centroid": caption_centroid_scores(benchmark),
        "weights": weights_scores(benchmark),
    }
    unseen = WithoutRenderings.of(root, retriever.index, reader)
    searched = search_ranks(retriever, unseen, benchmark.queries, relevant)
    return {SEARCH: searched} | {
        name: ranks_by_level(benchmark, _defined(scores), relevant) for name, scores in baselines.items()
    }


def _defined(scores: Scores) -> Scores:
    """Return a method whose undefined scores put adapters last."""
    return lambda rows: np.nan_to_num(scores(rows), nan=-1.0)


def measure(
    benchmark: Benchmark, ranks: Mapping[str, Mapping[str, Float64Array]], params: EvaluationParams
) -> dict[str, Any]:
    """Return the numbers, rounded: tables by level, and counts."""
    relevant = relevant_by_level(benchmark)
    numbers = {
        "levels": compare_ranks(benchmark, ranks, relevant, params) if benchmark.queries else {},
        "indexed_adapters": len(benchmark.adapters),
        "queries": len(benchmark.queries),
        "queried_adapters": len({query.adapters[0] for query in benchmark.queries}),
    }
    content: dict[str, Any] = rounded(numbers)
    return content


def headlines(measured: Mapping[str, Any], preset: str, split: Split) -> list[Headline]:
    """Return the rows of metrics/details.json: R@1, if params ask for it, of each method at each level.

    That of the search has no name of a method: retrieval.theme_r_at_1_unseen, retrieval.weights_theme_r_at_1_unseen.
    Those of the validation split end in `validation` instead.
    """
    suffix = "unseen" if split == "test" else split
    rows = []
    for level, table in measured["levels"].items():
        for method, metrics in table["methods"].items():
            if estimate := metrics.get("R@1"):
                prefix = "" if method == SEARCH else f"{method.lower().replace(' ', '_')}_"
                numbers = {field: estimate[field] for field in ("value", "low", "high", "n")}
                rows.append(
                    Headline(name=f"retrieval.{prefix}{level}_r_at_1_{suffix}", preset=preset, **numbers)
                )
    return rows


def write(
    root: Path,
    numbers: Mapping[str, Any],
    themes: Mapping[str, str],
    params: EvaluationParams,
    inputs: Mapping[str, str],
    preset: str,
    today: datetime.date,
    unmeasured: str = "",
) -> str:
    """Write report.json, the metrics and, last, the digest; return the digest.

    inputs: digests of what was evaluated. unmeasured: why there is no query. The digest excludes the results, which
    differ between processors.
    """
    about = {"inputs": dict(inputs)} | ({"unmeasured": unmeasured} if unmeasured else {})
    write_atomic(report_path(root), to_json({**numbers, **about}))
    write_atomic(metrics_path(root), to_json(numbers))
    update(root, COMMAND, today, headlines(numbers, preset, params.split))
    exact = {name: numbers[name] for name in ("indexed_adapters", "queries", "queried_adapters")}
    exact |= {"inputs": inputs, "themes": themes, "params": asdict(params)}
    hashes = {name: hash_value(value) for name, value in exact.items()}
    return write_digest(root, "evaluation", hashes, SCHEMA)
