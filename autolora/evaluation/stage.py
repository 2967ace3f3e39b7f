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
from autolora.encoder import store as encoder_store
from autolora.encoder.model import TextEncoder, relevance_of
from autolora.evaluation.benchmark import build_benchmark, explain_no_query
from autolora.evaluation.plots import write_plots
from autolora.evaluation.store import metrics_path, report_path
from autolora.index import store as index
from autolora.metrics.benchmark import Benchmark, relevant_by_level
from autolora.metrics.comparison import (
    compare_in_unseen_index,
    compare_methods,
    index_health,
    search_index,
)
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json
from autolora.metrics.summary import Headline, update
from autolora.params import EvaluationParams
from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import read_digest, write_digest
from autolora.storage.tables import read_arrow

SCHEMA = 3
COMMAND = "python -m flows.evaluation"
UNSEEN_INDEX = "unseen index"
"""key of the tables of an index that holds only the adapters unseen in training"""

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
    columns = read_arrow(index.folder(root), index.TABLE, ["sha256", "first_seen", "uses_captions"])
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    write_plots(root, benchmark, columns, relevance_of(encoder))
    unmeasured = "" if benchmark.queries else explain_no_query(root, benchmark.adapters, params.split)
    if unmeasured:
        logger.warning(unmeasured)
    return write(root, benchmark, params, inputs, preset, today, unmeasured)


def measure(benchmark: Benchmark, params: EvaluationParams) -> dict[str, Any]:
    """Return the numbers, rounded: tables by level, index health, counts."""
    relevant = relevant_by_level(benchmark)
    searches = search_index(benchmark, relevant, params.ks)
    numbers = {
        "levels": compare_methods(benchmark, searches, relevant, params),
        UNSEEN_INDEX: compare_in_unseen_index(benchmark, params),
        "health": index_health(benchmark, searches, params.ks),
        "indexed_adapters": len(benchmark.adapters),
        "queries": len(benchmark.queries),
        "queried_adapters": len({query.adapters[0] for query in benchmark.queries}),
    }
    content: dict[str, Any] = rounded(numbers)
    return content


def headlines(measured: Mapping[str, Any], preset: str, split: Split) -> list[Headline]:
    """Return the rows of metrics/details.json: R@1, if params ask for it, of each method at each level, in the whole
    index and in that of unseen adapters.

    The method `encoder` is called weights: retrieval.weights_theme_r_at_1_unseen, retrieval.random_theme_r_at_1_unseen.
    Those of the validation split end in `validation` instead.
    """
    suffix = _suffix(split)
    tables = measured["levels"] | {
        f"{UNSEEN_INDEX} {name}": level for name, level in measured[UNSEEN_INDEX].items()
    }
    rows = []
    for level, table in tables.items():
        for method, metrics in table["methods"].items():
            if estimate := metrics.get("R@1"):
                prefix = "weights" if method == "encoder" else method
                name = f"{prefix} {level} r_at_1 {suffix}".lower().replace(" ", "_")
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


def _suffix(split: Split) -> str:
    """Return the end of the names of a split's numbers."""
    return "unseen" if split == "test" else split
