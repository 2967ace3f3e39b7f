"""An evaluation of the index by a user's own prompts, each with the adapters that it should find."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autolora.encoder.model import TextEncoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.evaluation.benchmark import list_captions, read_renderings
from autolora.index.copies import Index
from autolora.index.names import EXPECTED, find_all
from autolora.metrics import retrieval
from autolora.metrics.bootstrap import estimates
from autolora.metrics.comparison import chance_metrics, query_metrics
from autolora.metrics.numbers import rounded
from autolora.params import EvaluationParams
from autolora.storage.arrays import Float32Array, Float64Array, Int64Array
from autolora.storage.files import Row

FORM = '{"prompt": "…", "adapters": ["sha256 or hub:id", …]}'
MAX_PROBLEMS = 10
"""lines that an error names"""
TEXTS_AT_ONCE = 8192
"""captions whose text features are in memory at once"""


@dataclass(frozen=True, slots=True, eq=False)
class PromptCase:
    """A line of a file of prompts."""

    line: int
    """from 1"""
    prompt: str
    adapters: tuple[str, ...]
    """as the file names them"""
    positions: Int64Array
    """of these adapters in the index, each once"""


def read_cases(path: Path, rows: Sequence[Row]) -> list[PromptCase]:
    """Read a file of JSON lines {"prompt": …, "adapters": […]} about the adapters of an index; empty lines are skipped.

    rows: of the index (`named_rows`). A name without a file stands for all files of its id.
    Raises MissingArtifact if the file does not exist or the index does not hold an adapter, MismatchError if a line
    has another form or there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MissingArtifact(f"{path} cannot be read ({error}): name a text file of lines {FORM}") from error
    cases: list[PromptCase] = []
    malformed, unknown = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            prompt, adapters = _parse(line)
        except ValueError as error:
            malformed.append(f"line {number}: {error}")
            continue
        positions = {name: find_all(rows, name) for name in adapters}
        unknown += [f"line {number}: '{name}'" for name, items in positions.items() if not items]
        items = sorted({item for items in positions.values() for item in items})
        cases.append(PromptCase(number, prompt, adapters, np.array(items, dtype=np.int64)))
    if malformed or not cases:
        raise MismatchError(
            f"{path} is not a file of prompts ({_join(malformed) or 'it has no line'}): expected {FORM} per line"
        )
    if unknown:
        raise MissingArtifact(
            f"{path} names adapters that the index does not hold ({_join(unknown)}): name {EXPECTED}, as "
            "`autolora search --json` prints them"
        )
    return cases


def measure_cases(
    root: Path,
    index: Index,
    text_encoder: TextEncoder,
    cases: Sequence[PromptCase],
    ks: Sequence[int],
    params: EvaluationParams,
) -> dict[str, Any]:
    """Return R@k and MRR of the index, of the caption centroid and of a random order, and the prompts whose first hit
    is wrong. Intervals resample prompts.

    The caption centroid takes all captions of the dataset, so it is flattered by prompts that are captions.
    """
    prompts = _embed(index, text_encoder, [case.prompt for case in cases])
    scores = {
        "index": prompts.astype(np.float64) @ index.vectors.T,
        "caption centroid": prompts.astype(np.float64) @ _centroids(root, index, text_encoder).T,
    }
    relevant = [case.positions for case in cases]
    ranks = {name: retrieval.ranks(values, relevant).astype(np.float64) for name, values in scores.items()}
    counts = np.array([len(case.positions) for case in cases], dtype=np.int64)
    tables = {name: query_metrics(values, ks) for name, values in ranks.items()}
    tables["random"] = chance_metrics(counts, np.full_like(counts, len(index.rows)), ks)
    columns = {(name, metric): values for name, table in tables.items() for metric, values in table.items()}
    found = estimates(columns, range(len(cases)), params.bootstrap, params.seed)
    methods: dict[str, dict[str, Any]] = {name: {} for name in tables}
    for (name, metric), estimate in found.items():
        row = asdict(estimate)
        methods[name][metric] = {field: row[field] for field in ("value", "low", "high")}
    report: dict[str, Any] = {
        "index": index.digest,
        "adapters": len(index.rows),
        "prompts": len(cases),
        "methods": methods,
        "failures": _failures(index, cases, ranks["index"], scores["index"]),
    }
    result: dict[str, Any] = rounded(report)
    return result


def _parse(line: str) -> tuple[str, tuple[str, ...]]:
    """Return prompt and adapters of a line. Raises ValueError, which says what is wrong, if it has another form."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON ({error})") from error
    if not isinstance(row, dict) or set(row) != {"prompt", "adapters"}:
        raise ValueError("not an object with the keys prompt and adapters alone")
    prompt, adapters = row["prompt"], row["adapters"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("the prompt is not a text, or empty")
    if not isinstance(adapters, list) or not adapters or not all(isinstance(name, str) for name in adapters):
        raise ValueError("adapters is not a list of at least one text")
    return prompt, tuple(adapters)


def _centroids(root: Path, index: Index, text_encoder: TextEncoder) -> Float64Array:
    """Return the unit mean caption vectors (N, d) of the adapters of an index; zeros without captions."""
    in_dataset = read_renderings(root)
    rows = [row for row, fields in enumerate(index.rows) if fields["sha256"] in in_dataset]
    captions = list_captions(root, [index.rows[row]["sha256"] for row in rows])
    sums = np.zeros(index.vectors.shape)
    for start in range(0, len(captions), TEXTS_AT_ONCE):
        part = captions[start : start + TEXTS_AT_ONCE]
        owners = np.array([rows[position] for position, _, _ in part])
        np.add.at(sums, owners, _embed(index, text_encoder, [text for _, _, text in part]))
    centroids: Float64Array = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return centroids


def _embed(index: Index, text_encoder: TextEncoder, texts: Sequence[str]) -> Float32Array:
    """Return the unit vectors (N, d) of texts."""
    return index.text_map.apply(np.asarray(text_encoder.encode(texts)))


def _failures(
    index: Index, cases: Sequence[PromptCase], ranks: Float64Array, scores: Float64Array
) -> list[dict[str, Any]]:
    """Return the prompts whose first hit is not one of their adapters, with the rank of the first that is."""
    first = scores.argmax(axis=1)
    return [
        {
            "line": case.line,
            "prompt": case.prompt,
            "adapters": list(case.adapters),
            "rank": int(ranks[row]),
            "first_hit": f"{index.rows[first[row]]['hub']}:{index.rows[first[row]]['id']}",
            "score": float(scores[row, first[row]]),
        }
        for row, case in enumerate(cases)
        if ranks[row] > 1
    ]


def _join(problems: Sequence[str]) -> str:
    more = len(problems) - MAX_PROBLEMS
    return "; ".join(problems[:MAX_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
