"""The difference of two releases: adapters in and out, metrics, and the pinned queries that are answered otherwise."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autolora.catalog.names import full_name
from autolora.errors import MissingArtifact
from autolora.evaluation.store import Recall, recall_of
from autolora.index.copies import Index
from autolora.index.served import open_index
from autolora.params import Params
from autolora.releases.queries import read_queries
from autolora.search.retriever import Retriever
from autolora.storage.git import read_committed
from autolora.text_encoder.clip import load_numpy_text_encoder

ANSWERS = 3
"""first adapters of a query that are compared"""
EVALUATION = "metrics/evaluation.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedAnswer:
    """A pinned query and its first adapters in both releases, as hub:id."""

    query: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The difference of two releases."""

    adapters: tuple[int, int]
    """number in each"""
    added: tuple[str, ...]
    """hub:id/file"""
    removed: tuple[str, ...]
    is_same_encoder: bool
    recall: tuple[Recall | None, Recall | None]
    """None if no evaluation was committed with it"""
    queries: int
    answers: tuple[ChangedAnswer, ...]


def compare_releases(root: Path, params: Params, first: str, second: str) -> Comparison:
    """Return the difference of two git revisions, e.g. tags of releases.

    Raises MissingArtifact if one does not exist, or nothing at hand has its index.
    """
    before, after = open_index(root, first), open_index(root, second)
    names, later = _names(before), _names(after)
    queries = read_queries(root)
    pairs = zip(_answers(root, params, before, queries), _answers(root, params, after, queries), strict=True)
    return Comparison(
        adapters=(len(before.rows), len(after.rows)),
        added=tuple(sorted(later[sha256] for sha256 in later.keys() - names.keys())),
        removed=tuple(sorted(names[sha256] for sha256 in names.keys() - later.keys())),
        is_same_encoder=before.encoder == after.encoder,
        recall=(_recall(root, first), _recall(root, second)),
        queries=len(queries),
        answers=tuple(
            ChangedAnswer(query=query, before=old, after=new)
            for query, (old, new) in zip(queries, pairs, strict=True)
            if old != new
        ),
    )


def _names(index: Index) -> dict[str, str]:
    """Return sha256 -> hub:id/file."""
    rows = index.rows.columns.select(["sha256", "hub", "id", "file"]).to_pylist()
    return {row["sha256"]: full_name(row["hub"], row["id"], row["file"]) for row in rows}


def _answers(root: Path, params: Params, index: Index, queries: Sequence[str]) -> list[tuple[str, ...]]:
    retriever = Retriever(index, load_numpy_text_encoder(root, params.models, index.tokenizers), params)
    found = (retriever.search(query, ANSWERS) for query in queries)
    return [tuple(f"{hit.hub}:{hit.id}" for hit in hits) for hits in found]


def _recall(root: Path, rev: str) -> Recall | None:
    try:
        return recall_of(json.loads(read_committed(root, rev, EVALUATION)))
    except MissingArtifact:
        return None
