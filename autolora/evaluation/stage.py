"""Measure retrieval: queries are captions of adapters unseen in training, the pool is the whole index.

The queries are those of one split: `test` to report, `validation` to choose params.
"""

import datetime
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from autolora.dataset.families import Split
from autolora.encoder.model import TextEncoder
from autolora.evaluation.benchmark import build_benchmark, explain_no_query
from autolora.evaluation.store import metrics_path, report_path
from autolora.metrics.benchmark import Benchmark
from autolora.metrics.comparison import compare_methods
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json
from autolora.metrics.summary import Headline, update
from autolora.params import EvaluationParams
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import read_digest, write_digest

SCHEMA = 3
COMMAND = "python -m flows.evaluation"

logger = logging.getLogger(__name__)


def evaluate(
    root: Path, params: EvaluationParams, text_encoder: TextEncoder, preset: str, today: datetime.date
) -> str:
    """Evaluate the working index and write this stage's part of the report; return the digest.

    preset: of the encoder, for the rows of metrics/details.json.
    Raises MissingArtifact when an earlier stage has not run, MismatchError when index and text encoder
    do not belong together.
    """
    judgments = read_judgments(root / params.themes if params.themes else None)
    themes = {sha256: judgment.theme for sha256, judgment in judgments.items()}
    benchmark = build_benchmark(root, text_encoder, themes, params.split)
    logger.info("%d queries, %d adapters", len(benchmark.queries), len(benchmark.adapters))
    inputs = {stage: read_digest(root, stage)["sha256"] for stage in ("dataset", "index")}
    unmeasured = "" if benchmark.queries else explain_no_query(root, benchmark.adapters, params.split)
    if unmeasured:
        logger.warning(unmeasured)
    return write(root, benchmark, params, inputs, preset, today, unmeasured)


def measure(benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Return the numbers, rounded: tables by level, and counts."""
    numbers = {
        "levels": compare_methods(benchmark, params),
        "indexed_adapters": len(benchmark.adapters),
        "queries": len(benchmark.queries),
        "queried_adapters": len({query.adapters[0] for query in benchmark.queries}),
    }
    content: dict[str, Any] = rounded(numbers)
    return content


def headlines(measured: Mapping[str, Any], preset: str, split: Split) -> list[Headline]:
    """Return the rows of metrics/details.json: R@1, if params ask for it, of each method at each level.

    The method `encoder` is called weights: retrieval.weights_theme_r_at_1_unseen, retrieval.random_theme_r_at_1_unseen.
    Those of the validation split end in `validation` instead.
    """
    suffix = "unseen" if split == "test" else split
    rows = []
    for level, table in measured["levels"].items():
        for method, metrics in table["methods"].items():
            if estimate := metrics.get("R@1"):
                prefix = "weights" if method == "encoder" else method
                name = f"retrieval.{prefix}_{level}_r_at_1_{suffix}"
                numbers = {field: estimate[field] for field in ("value", "low", "high", "n")}
                rows.append(Headline(name=name, preset=preset, **numbers))
    return rows


def write(
    root: Path,
    benchmark: Benchmark,
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
    numbers = measure(benchmark, params)
    about = {"inputs": dict(inputs)} | ({"unmeasured": unmeasured} if unmeasured else {})
    write_atomic(report_path(root), to_json(numbers | about))
    write_atomic(metrics_path(root), to_json(numbers))
    update(root, COMMAND, today, headlines(numbers, preset, params.split))
    exact = {name: numbers[name] for name in ("indexed_adapters", "queries", "queried_adapters")}
    exact |= {"inputs": inputs, "themes": benchmark.themes, "params": asdict(params)}
    hashes = {name: hash_value(value) for name, value in exact.items()}
    return write_digest(root, "evaluation", hashes, SCHEMA)
