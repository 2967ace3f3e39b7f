"""How the last refresh ended: cache/last_refresh.json, which a refresh writes at its start and at its end.

A start without an end is of a refresh that still runs, and holds the repository's lock, or that was killed.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index.served import former_digest
from autolora.storage.files import read_json, write_atomic
from autolora.storage.git import history, read_revisions
from autolora.storage.lock import is_locked

RECORD = Path("cache", "last_refresh.json")
INDEX = "digests/index.json"
REMEDY = (
    "Correct the cause, then run `autolora refresh`: it continues from what is finished. "
    "docs/howto/nightly.md says where the log of each stage is."
)

REFUSED_REMEDY = (
    "Correct the cause and refresh again, or serve the new index as it is: `autolora versions promote --reason WHY` "
    "(docs/howto/versions.md)."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRefresh:
    """The record; times are ISO 8601 in UTC."""

    succeeded: str | None = None
    """time of the last success"""
    failed: str | None = None
    """time of the last failure since then, or of the start if the refresh was killed"""
    reason: str = ""
    """of that failure; empty if the refresh was killed"""
    is_refused: bool = False
    """whether the gate has refused the new index; otherwise the refresh has failed"""
    failures: int = 0
    """number of failures in a row"""
    started: str | None = None
    """time of the start of a refresh that has not ended"""
    index: str | None = None
    """content digest of the last index that a refresh has released in place of another one"""
    released: str | None = None
    """time of that release"""
    is_released: bool = False
    """whether the refresh that has started, or that failed, has released that index"""

    @property
    def problem(self) -> str | None:
        """How the last refresh failed, as a sentence; None if it succeeded, or none has run."""
        if self.failed is None:
            return None
        if self.is_refused:
            return f"The gate refused the new index of the refresh of {to_words(self.failed)}."
        if self.reason:
            return f"The refresh of {to_words(self.failed)} failed: {self.reason.rstrip('.')}."
        return (
            f"A refresh started on {to_words(self.failed)} and did not finish: it was killed or interrupted."
        )


def read_last_refresh(root: Path) -> LastRefresh:
    """Return the record, in which a killed refresh is a failed one; an empty one if no refresh has run here."""
    last = _read(root)
    return last if last.started is None or is_locked(root) else _killed(last)


def record_start(root: Path, now: datetime) -> LastRefresh:
    """Record that a refresh starts, which holds the repository's lock; return the record before."""
    last = _read(root)
    last = _killed(last) if last.started else last
    _write(root, replace(last, started=now.isoformat(timespec="seconds"), is_released=False))
    return last


def record_release(root: Path, now: datetime) -> None:
    """Record that an index was released, unless it is that of the last release; it ends a refusal."""
    last, digest = _read(root), former_digest(root)
    if digest != last.index:
        time = now.isoformat(timespec="seconds")
        last = (
            replace(last, failed=None, reason="", is_refused=False, failures=0) if last.is_refused else last
        )
        _write(root, replace(last, index=digest, released=time, is_released=True))


def record_success(root: Path, now: datetime) -> None:
    """Record that the refresh has succeeded."""
    last = _read(root)
    time = now.isoformat(timespec="seconds")
    _write(root, LastRefresh(succeeded=time, index=last.index, released=last.released))


def record_failure(root: Path, now: datetime, reason: str, is_refused: bool = False) -> None:
    """Record that the refresh has failed, maybe after it has released a new index, or that it was refused."""
    failed = _failed(_read(root), now.isoformat(timespec="seconds"), reason)
    _write(root, replace(failed, is_refused=is_refused))


def failure_notice(root: Path, last: LastRefresh) -> list[str]:
    """Return how the last refresh failed, which index is served, and what to do; empty if it succeeded."""
    if last.problem is None:
        return []
    digest = former_digest(root)
    if digest is None:
        served = "No index has been released yet."
    elif last.is_released and digest == last.index:
        served = "It failed after the release: its new index is served."
    else:
        served = f"The index of {index_day(root, last, digest) or 'an earlier day'} is served."
    return [last.problem, served, REFUSED_REMEDY if last.is_refused else REMEDY]


def index_day(root: Path, last: LastRefresh, digest: str) -> str | None:
    """Return the day on which a refresh released an index, else that of its commit; None if neither is known."""
    time = index_time(root, last, digest)
    return time and time[:10]


def index_time(root: Path, last: LastRefresh, digest: str) -> str | None:
    """Return the time (ISO 8601) at which an index was released, else that of its newest commit; None without."""
    if digest == last.index and last.released:
        return last.released
    commits = history(root, INDEX)
    texts = read_revisions(root, [commit.sha for commit in commits], INDEX)
    return next((commit.date for commit in commits if f'"{digest}"' in texts.get(commit.sha, "")), None)


def to_words(time: str) -> str:
    """Return a time of the record as day, hour and minute."""
    return f"{time[:10]}, {time[11:16]} UTC"


def _killed(last: LastRefresh) -> LastRefresh:
    """Return the record in which the refresh that has started is a failed one."""
    return _failed(last, str(last.started), "")


def _failed(last: LastRefresh, time: str, reason: str) -> LastRefresh:
    return replace(
        last, started=None, failed=time, reason=reason, is_refused=False, failures=last.failures + 1
    )


def _read(root: Path) -> LastRefresh:
    try:
        return LastRefresh(**read_json(root / RECORD) or {})
    except (MissingArtifact, TypeError) as error:
        logger.warning("%s is damaged (%r): how earlier refreshes ended is not known", root / RECORD, error)
        return LastRefresh()


def _write(root: Path, last: LastRefresh) -> None:
    write_atomic(root / RECORD, json.dumps(asdict(last), indent=1, sort_keys=True) + "\n")
