"""The gate: whether an index may be served.

Of the index that a refresh has made, all is checked: itself, against what the stages say, against the served index,
and what has come against the nights before. A rollback goes to an index that has passed once, and is checked by
itself.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index.content import IncompleteIndexError
from autolora.index.copies import Index, check_copy
from autolora.index.served import copy_path, former_digest, open_copy_of, open_released
from autolora.params import Params
from autolora.refresh.outcomes import Outcome
from autolora.releases.checks import GATE, Check, Decision, read_decisions
from autolora.releases.exact import (
    change_checks,
    evidence_checks,
    self_checks,
    spot_rows,
    stage_checks,
)
from autolora.releases.pin import read_pin
from autolora.releases.queries import read_queries
from autolora.releases.rates import rate_checks
from autolora.releases.tags import release_tags
from autolora.search.retriever import Retriever
from autolora.storage.git import restore_committed
from autolora.text_encoder.clip import load_numpy_text_encoder


def judge(root: Path, digest: str, params: Params, outcomes: Sequence[Outcome], today: date) -> Decision:
    """Return the decision on the working index, which is not served yet.

    digest: of its content. outcomes: what became of the files since the last release.
    """
    restore_committed(root, str(GATE))
    former = _former(root)
    try:
        index = _verified(root, open_copy_of(root, digest))
    except (IncompleteIndexError, MissingArtifact) as error:
        checks: tuple[Check, ...] = (_failed("unreadable rows", error),)
    else:
        checks = tuple(_checks(root, params, index, former, outcomes))
    pin = read_pin(root)
    is_refused = any(check.refuses for check in checks)
    return Decision(
        day=today,
        index=digest,
        former=former,
        verdict="refused" if is_refused else "pinned" if pin else "promoted",
        checks=checks,
        reason=str(pin) if pin and not is_refused else "",
    )


def judge_former(root: Path, index: Index, reason: str, today: date) -> Decision:
    """Return the decision on an index that was released before."""
    try:
        check_copy(copy_path(root, index.digest))
    except MissingArtifact as error:
        checks: tuple[Check, ...] = (_failed("unreadable rows", error),)
    else:
        checks = tuple(self_checks(root, index))
    is_refused = any(check.refuses for check in checks)
    return Decision(
        day=today,
        index=index.digest,
        former=former_digest(root),
        verdict="refused" if is_refused else "promoted by hand",
        checks=checks,
        reason=reason,
    )


def _checks(
    root: Path, params: Params, index: Index, former: str | None, outcomes: Sequence[Outcome]
) -> Iterator[Check]:
    yield from self_checks(root, index)
    yield from stage_checks(root, index)
    try:
        served = _verified(root, open_released(root, former)) if former else None
    except MissingArtifact as error:
        yield _failed("served index missing", error)
        return
    queries = read_queries(root)
    encoder = load_numpy_text_encoder(root, params.models, index.tokenizers)
    is_same = encoder.digest == index.text_encoder
    yield Check(name="text encoders", value=int(not is_same), rule="0, that of the index", passed=is_same)
    if not is_same:
        return
    features, winners = encoder.encode(queries), _first_hits(Retriever(index, encoder, params), queries)
    yield from evidence_checks(root, index, spot_rows(served, index, winners), encoder.encode)
    if served:
        if _tokenizers(served) == _tokenizers(index):
            before = features
        else:
            before = load_numpy_text_encoder(root, params.models, served.tokenizers).encode(queries)
        yield from change_checks(root, served, index, (before, features), encoder.encode)
    yield from rate_checks(root, served, index, winners, outcomes, read_decisions(root))


def _first_hits(retriever: Retriever, queries: Sequence[str]) -> list[str]:
    """Return the sha256 of the first hit of each query, as a search finds it."""
    return [hit.sha256 for query in queries for hit in retriever.search(query, 1)]


def _tokenizers(index: Index) -> dict[str, bytes]:
    return {digest: path.read_bytes() for digest, path in index.tokenizers.items()}


def _former(root: Path) -> str | None:
    """Return the digest of the index to compare with: the served one, else that of the newest release or promotion."""
    released = (tag.index for tag in release_tags(root))
    promoted = (decision.index for decision in reversed(read_decisions(root)) if decision.is_promoted)
    return former_digest(root) or next(released, None) or next(promoted, None)


def _verified(root: Path, index: Index) -> Index:
    """Return an index after its copy has been compared with its hashes. Raises MissingArtifact if it is damaged."""
    check_copy(copy_path(root, index.digest))
    return index


def _failed(name: str, error: Exception) -> Check:
    return Check(name=name, value=1, rule="0", passed=False, detail=str(error))
