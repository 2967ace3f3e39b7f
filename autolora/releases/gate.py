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
from autolora.index.copies import Index
from autolora.index.served import former_digest, open_copy_of, open_released
from autolora.params import Params
from autolora.refresh.outcomes import Outcome
from autolora.releases.checks import Check, Decision, read_decisions
from autolora.releases.exact import change_checks, self_checks, stage_checks
from autolora.releases.pin import read_pin
from autolora.releases.queries import read_queries
from autolora.releases.rates import rate_checks
from autolora.releases.tags import release_tags
from autolora.text_encoder.clip import load_numpy_text_encoder


def judge(root: Path, digest: str, params: Params, outcomes: Sequence[Outcome], today: date) -> Decision:
    """Return the decision on the working index, which is not served yet.

    digest: of its content. outcomes: what became of the files since the last release.
    """
    former = _former(root)
    try:
        index = open_copy_of(root, digest)
    except IncompleteIndexError as error:
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
    if former is None:
        return
    try:
        served = open_released(root, former)
    except MissingArtifact as error:
        yield _failed("served index missing", error)
        return
    queries = read_queries(root, params.refresh.queries)
    encode = load_numpy_text_encoder(root, params.models, index.tokenizers).encode
    yield from change_checks(root, served, index, encode, queries)
    yield from rate_checks(served, index, encode(queries), outcomes, read_decisions(root))


def _former(root: Path) -> str | None:
    """Return the digest of the index to compare with: the served one, else that of the newest release."""
    return former_digest(root) or next((tag.index for tag in release_tags(root)), None)


def _failed(name: str, error: Exception) -> Check:
    return Check(name=name, value=1, rule="0", passed=False, detail=str(error))
