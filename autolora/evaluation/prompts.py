"""An evaluation of the index by a user's own prompts, each with the adapters that it should find."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolora.encoder.everyday import EVERYDAY_PHRASES
from autolora.encoder.examples import load_examples
from autolora.encoder.language import fit_map
from autolora.encoder.model import TextEncoder
from autolora.errors import MismatchError, MissingArtifact
from autolora.evaluation.benchmark import TEXTS_AT_ONCE, list_captions, read_renderings
from autolora.index.copies import Index
from autolora.index.names import EXPECTED, AdapterNames
from autolora.matching.caption_rule import directions
from autolora.matching.parts import split_parts
from autolora.metrics import retrieval
from autolora.metrics.bootstrap import estimates
from autolora.metrics.comparison import chance_metrics, query_metrics
from autolora.metrics.numbers import rounded
from autolora.params import EvaluationParams
from autolora.params.limits import is_unicode
from autolora.search.retriever import Retriever
from autolora.storage.arrays import Float32Array, Float64Array, Int64Array

FORM = '{"prompt": "…", "adapters": ["sha256 or hub:id", …]}'
NONE: Mapping[str, TextEncoder] = MappingProxyType({})
MAX_PROBLEMS = 10
"""lines that an error names"""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedPrompt:
    """A line of a file of prompts."""

    line: int
    """from 1"""
    prompt: str
    adapters: tuple[str, ...]
    """as the file names them"""
    positions: Int64Array
    """of these adapters in the index, each once"""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """How the adapters of an index rank for each prompt."""

    ranks: Float64Array
    """(P,) of the first of the prompt's adapters, from 1"""
    first_hits: Int64Array
    """(P,) position of the adapter with the highest score"""


def read_cases(path: Path, names: AdapterNames) -> list[JudgedPrompt]:
    """Read a file of JSON lines {"prompt": …, "adapters": […]} about the adapters of an index; empty lines are skipped.

    names: of the adapters of the index. A name without a file stands for all files of its id.
    Raises MissingArtifact if the file does not exist or the index does not hold an adapter, MismatchError if a line
    has another form or there is none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MissingArtifact(f"{path} cannot be read ({error}): name a text file of lines {FORM}") from error
    cases: list[JudgedPrompt] = []
    malformed, unknown = [], []
    # not splitlines(), which also splits at characters that a JSON text may contain
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prompt, adapters = _parse(line)
        except ValueError as error:
            malformed.append(f"line {number}: {error}")
            continue
        positions = {name: names.find_all(name) for name in adapters}
        unknown += [f"line {number}: '{name}'" for name, items in positions.items() if not items]
        items = sorted({item for items in positions.values() for item in items})
        cases.append(JudgedPrompt(number, prompt, adapters, np.array(items, dtype=np.int64)))
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
    retriever: Retriever,
    cases: Sequence[JudgedPrompt],
    ks: Sequence[int],
    params: EvaluationParams,
    languages: Mapping[str, TextEncoder] = NONE,
) -> dict[str, Any]:
    """Return R@k and MRR of a search, of the caption centroid and of a random order, and the prompts whose first hit
    is wrong. Intervals resample prompts. Without captions there is no centroid.

    languages: name -> sentence encoder, by which captions alone are compared with the parts of the prompts; its map is
    fitted to the captions of the training lock, and nothing is trained. Captions of the dataset count all, so methods
    that take them are flattered by prompts that are captions.
    """
    index = retriever.index
    rankings = {
        "search": _rank(
            lambda block: np.stack([places(retriever, case.prompt) for case in block]), index, cases
        )
    }
    if index.has_weights:
        prompts = retriever.embed_all([case.prompt for case in cases]).astype(np.float64)
        centroids = _centroids(root, index, retriever.embed_all)
        if centroids.any():
            rankings["caption centroid"] = _rank_by(prompts, centroids, index, cases)
    rankings |= {name: _rank_by_parts(root, index, cases, sentences) for name, sentences in languages.items()}
    counts = np.array([len(case.positions) for case in cases], dtype=np.int64)
    tables = {name: query_metrics(ranking.ranks, ks) for name, ranking in rankings.items()}
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
        "failures": _failures(index, cases, rankings["search"]),
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
    if not all(map(is_unicode, (prompt, *adapters))):
        raise ValueError(
            "a text is not valid Unicode: it contains half of a surrogate pair (\\ud800 to \\udfff)"
        )
    return prompt, tuple(adapters)


def _rank(
    score: Callable[[Sequence[JudgedPrompt]], NDArray[np.floating]],
    index: Index,
    cases: Sequence[JudgedPrompt],
) -> Ranking:
    """Return how the adapters of an index rank for each prompt.

    score: from a block of prompts (B,) to the scores (B, N).
    """
    ranks, first = np.empty(len(cases)), np.empty(len(cases), dtype=np.int64)
    for block in retrieval.blocks(len(cases), len(index.rows)):
        scores = score(cases[block]).astype(np.float64)
        ranks[block] = retrieval.ranks(scores, [case.positions for case in cases[block]])
        first[block] = scores.argmax(axis=1)
    return Ranking(ranks, first)


def places(retriever: Retriever, prompt: str) -> Float64Array:
    """Return scores (N,) by which adapters are ordered as a search orders them; -N for those that it cannot find."""
    scores = np.full(len(retriever.index.rows), -float(len(retriever.index.rows)))
    order = retriever.ranking(prompt)
    scores[order] = -np.arange(len(order), dtype=np.float64)
    return scores


def _rank_by(
    prompts: Float64Array, vectors: Float64Array, index: Index, cases: Sequence[JudgedPrompt]
) -> Ranking:
    """Return how adapters with vectors (N, d) rank for prompts (P, d)."""
    rows = {case.line: row for row, case in enumerate(cases)}
    return _rank(lambda block: prompts[[rows[case.line] for case in block]] @ vectors.T, index, cases)


def _rank_by_parts(
    root: Path, index: Index, cases: Sequence[JudgedPrompt], sentences: TextEncoder
) -> Ranking:
    """Return how adapters rank by the largest product of their captions' vector with that of a part of the prompt."""
    captions = [sentences.encode(example.captions) for example in load_examples(root)]
    fitted = fit_map(captions, sentences.encode(EVERYDAY_PHRASES), sentences.encode([""])[0])
    vectors = _centroids(root, index, lambda texts: fitted.said(sentences.encode(texts)))

    def score(block: Sequence[JudgedPrompt]) -> Float64Array:
        parts = (fitted.parts(sentences.encode(split_parts(case.prompt))) for case in block)
        return np.stack([(vectors @ rows.T).max(axis=1) for rows in parts])

    return _rank(score, index, cases)


def _centroids(root: Path, index: Index, embed: Callable[[Sequence[str]], Float32Array]) -> Float64Array:
    """Return the unit mean caption vectors (N, d) of the adapters of an index; zeros without captions.

    embed: from texts to their unit vectors.
    """
    in_dataset = read_renderings(root)
    rows = [row for row, fields in enumerate(index.rows) if fields["sha256"] in in_dataset]
    captions = list_captions(root, [index.rows[row]["sha256"] for row in rows])
    sums = np.zeros((len(index.rows), embed([""]).shape[1]))
    for start in range(0, len(captions), TEXTS_AT_ONCE):
        part = captions[start : start + TEXTS_AT_ONCE]
        owners = np.array([rows[position] for position, _, _ in part])
        np.add.at(sums, owners, embed([text for _, _, text in part]))
    return directions(sums)


def _failures(index: Index, cases: Sequence[JudgedPrompt], ranking: Ranking) -> list[dict[str, Any]]:
    """Return the prompts whose first hit is not one of their adapters, with the rank of the first that is."""
    failures = []
    for position in np.flatnonzero(ranking.ranks > 1).tolist():
        case, first_hit = cases[position], index.rows[int(ranking.first_hits[position])]
        failures.append(
            {
                "line": case.line,
                "prompt": case.prompt,
                "adapters": list(case.adapters),
                "rank": int(ranking.ranks[position]),
                "first_hit": f"{first_hit['hub']}:{first_hit['id']}",
            }
        )
    return failures


def _join(problems: Sequence[str]) -> str:
    more = len(problems) - MAX_PROBLEMS
    return "; ".join(problems[:MAX_PROBLEMS]) + (f"; and {more} more" if more > 0 else "")
