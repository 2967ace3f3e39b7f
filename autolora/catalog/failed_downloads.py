"""Failed downloads: cache/failed_downloads.jsonl, one row per listed file or image that the pool could not download.

The stage `pool` writes the file and the next crawl reads it. The crawl defers new files and images whose download
failed, so that one broken file does not block a refresh. A deferred download is retried after 1 day, then after 2, 4,
8 and at most MAX_DELAY_DAYS days. The file is a cache: if it is lost, all downloads are tried again.
"""

import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.storage.files import Row, read_rows, write_rows
from autolora.storage.validation import parse_date

MAX_DELAY_DAYS = 16
"""maximum number of days between two attempts"""
EXPIRY = timedelta(days=14)
"""rows that no run has requested again are dropped this long after `retry_on`"""

NOT_REQUESTED = "not requested: too many downloads from its hub failed in a row"
"""reason of a download that was wanted but not attempted"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedDownload:
    """A listed file or image whose download failed."""

    key: str
    """Listing.key or ListedRendering.key"""
    hub: str
    id: str
    """id of the model"""
    name: str
    """<model id>/<file name>, or the URL of an image"""
    reason: str
    was_in_pool: bool = False
    """the pool held this file earlier and has lost it"""
    failed_attempts: int = 1
    """number of days with a failed attempt; 0: wanted but not attempted, after too many other failures of the hub"""
    last_attempt: date
    """the last day on which the pool wanted it"""

    @property
    def retry_on(self) -> date:
        """The day of the next attempt: exponential backoff in days."""
        return self.last_attempt + timedelta(days=min(2 ** max(self.failed_attempts - 1, 0), MAX_DELAY_DAYS))

    @property
    def is_file(self) -> bool:
        """Whether this is a file, which is named after its model; an image is named by its URL."""
        return self.name.startswith(f"{self.id}/")

    def is_deferred(self, today: date) -> bool:
        """Return whether the download must not be tried today; a row dated in the future does not defer it."""
        return self.last_attempt <= today < self.retry_on

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self) | {"last_attempt": self.last_attempt.isoformat()}


def path(root: Path) -> Path:
    """Return the path of the cache file."""
    return root / "cache" / "failed_downloads.jsonl"


def read(root: Path) -> dict[str, FailedDownload]:
    """Return the failed downloads by key; an empty dictionary if the file is missing or damaged."""
    try:
        downloads = [
            FailedDownload(**row | {"last_attempt": parse_date(row["last_attempt"])})
            for row in read_rows(path(root))
        ]
    except (MissingArtifact, KeyError, TypeError, ValueError) as error:
        logger.warning("%s cannot be read (%r): all downloads are tried again", path(root), error)
        return {}
    return {download.key: download for download in downloads}


def record(root: Path, missing: Iterable[FailedDownload], wanted: Collection[str], today: date) -> None:
    """Write the failures of today, at most one attempt per download and day, and drop the rows of arrived downloads.

    missing: failures with `failed_attempts` of today only (0 or 1), which are added to the recorded attempts.
    wanted: keys of everything that should be in the pool.
    """
    recorded = read(root)
    downloads = {
        key: download
        for key, download in recorded.items()
        if key not in wanted and today - download.retry_on < EXPIRY
    }
    for failure in missing:
        former = recorded.get(failure.key)
        attempts = former.failed_attempts if former else 0
        if former is None or former.last_attempt != today:
            attempts += failure.failed_attempts
        else:  # at most one attempt per day counts
            attempts = max(attempts, failure.failed_attempts)
        downloads[failure.key] = replace(failure, failed_attempts=attempts, last_attempt=today)
    if downloads:
        write_rows(path(root), (downloads[key].to_row() for key in sorted(downloads)))
    else:
        path(root).unlink(missing_ok=True)
