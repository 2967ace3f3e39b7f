"""How the last refresh ended: cache/last_refresh.json, which a refresh writes at its start and at its end.

A start without an end is of a refresh that still runs, and holds the repository's lock, or that was killed.
"""

import json
import logging
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.index.served import copy_path, former_digest
from autolora.report.history import releases
from autolora.storage.files import read_json, write_atomic
from autolora.storage.incremental import digest_path
from autolora.storage.lock import is_locked

RECORD = Path("cache", "last_refresh.json")
REMEDY = (
    "`prefect flow-run ls --flow-name refresh` names its run, which has the log (docs/howto/nightly.md). Correct the "
    "cause, then run `python -m flows.refresh`: it continues from what is finished."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class LastRefresh:
    """The record; times are ISO 8601 in UTC, indexes are content digests."""

    succeeded: str | None = None
    """time of the last success"""
    failed: str | None = None
    """time of the last failure since then, or of the start if the refresh was killed"""
    reason: str = ""
    """of that failure; empty if the refresh was killed"""
    failures: int = 0
    """number of failures in a row"""
    started: str | None = None
    """time of the start of a refresh that has not ended"""
    served: str | None = None
    """index that was served then"""
    index: str | None = None
    """index that a refresh released last"""
    released: str | None = None
    """time of that release, which is the end of its refresh"""

    @property
    def problem(self) -> str | None:
        """How the last refresh failed, as a sentence; None if it succeeded, or none has run."""
        if self.failed is None:
            return None
        if self.reason:
            return f"The refresh of {to_words(self.failed)} failed: {self.reason.rstrip('.')}."
        return (
            f"A refresh started on {to_words(self.failed)} and did not finish: it was killed or interrupted."
        )


def read_last_refresh(root: Path) -> LastRefresh:
    """Return the record, in which a killed refresh is a failed one; an empty one if no refresh has run here."""
    last = _read(root)
    return last if last.started is None or is_locked(root) else _end(root, last, last.started, "")


def record_start(root: Path, now: datetime) -> None:
    """Record that a refresh starts; the caller holds the repository's lock."""
    last = _read(root)
    if last.started is not None:
        last = _end(root, last, last.started, "")
    _write(root, replace(last, started=_to_text(now), served=former_digest(root)))


def record_success(root: Path, now: datetime) -> None:
    """Record that the refresh has succeeded."""
    time = _to_text(now)
    _write(root, LastRefresh(succeeded=time, index=former_digest(root), released=time))


def record_failure(root: Path, now: datetime, reason: str) -> None:
    """Record that the refresh has failed, maybe after it has released a new index."""
    _write(root, _end(root, _read(root), _to_text(now), reason))


def failure_notice(root: Path, last: LastRefresh) -> list[str]:
    """Return how the last refresh failed, which index is served, and what to do; empty if it succeeded."""
    if last.problem is None:
        return []
    digest = former_digest(root)
    if digest is None:
        served = "No index has been released yet."
    elif last.released == last.failed:
        served = "It failed after the release: its new index is served."
    else:
        served = f"The index of {index_day(root, last, digest) or 'an earlier refresh'} is served."
    return [last.problem, served, REMEDY]


def index_day(root: Path, last: LastRefresh, digest: str) -> str | None:
    """Return the day (UTC) of an index: of its release by a refresh, else of its commit, else of its files, or None."""
    if digest == last.index and last.released:
        return last.released[:10]
    commits = [release.commit.date for release in releases(root) if release.index == digest]
    files = (path for path in (copy_path(root, digest), digest_path(root, "index")) if path.exists())
    made = (_to_text(datetime.fromtimestamp(path.stat().st_mtime, UTC)) for path in files)
    return next((time[:10] for time in (*reversed(commits), *made)), None)


def to_words(time: str) -> str:
    """Return a time of the record as day, hour and minute."""
    return f"{time[:10]}, {time[11:16]} UTC"


def _end(root: Path, last: LastRefresh, time: str, reason: str) -> LastRefresh:
    """Return the record after a failure at a time."""
    served = former_digest(root)
    moved = {} if served == last.served else {"index": served, "released": time}
    return replace(last, started=None, failed=time, reason=reason, failures=last.failures + 1, **moved)


def _read(root: Path) -> LastRefresh:
    try:
        return LastRefresh(**read_json(root / RECORD) or {})
    except (MissingArtifact, TypeError) as error:
        logger.warning("%s is damaged (%r): how earlier refreshes ended is not known", root / RECORD, error)
        return LastRefresh()


def _write(root: Path, last: LastRefresh) -> None:
    write_atomic(root / RECORD, json.dumps(asdict(last), indent=1, sort_keys=True) + "\n")


def _to_text(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
