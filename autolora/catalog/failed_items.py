"""Failed items: cache/failed_items.jsonl, one row per listed file or image that a stage could not process.

The stages `pool` (a download or reading failed) and `captions` (the VLM did not caption an image) write the file, and
the next crawl reads it. The crawl defers new files and images that failed, so that one bad input does not block a
refresh. A deferred item is retried after 1 day, then after 2, 4, 8 and at most MAX_DELAY_DAYS days. The file is a
cache: if it is lost, everything is tried again.
"""

import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

from autolora.errors import MissingArtifact
from autolora.storage.files import Row, read_rows, write_rows
from autolora.storage.validation import check_choice, parse_date

ItemStage = Literal["pool", "captions"]
FAILURES: dict[str, str] = {"pool": "download or reading failed", "captions": "caption failed"}
"""stage -> what its failures are called in reports"""
MAX_DELAY_DAYS = 16
"""maximum number of days between two attempts"""
EXPIRY = timedelta(days=14)
"""rows that no run has requested again are dropped this long after `retry_on`"""
MAX_FAILED_SHARE = 0.5
"""if more than this share of the active items failed, the cause is taken to be a general one, and none is deferred"""

NOT_REQUESTED = "not requested: too many downloads from its hub failed in a row"
"""reason of a download that was wanted but not attempted"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedItem:
    """A listed file or image whose download or reading failed, or a listed image whose caption failed."""

    stage: ItemStage
    """the stage that failed"""
    key: str
    """Listing.key or ListedRendering.key"""
    hub: str
    id: str
    """id of the model"""
    name: str
    """<model id>/<file name>, or the URL of an image"""
    reason: str
    was_in_pool: bool = False
    """the pool held this file earlier and has lost it; always False for captions"""
    failed_attempts: int = 1
    """number of days with a failed attempt; 0: wanted but not attempted, after too many other failures of the hub"""
    last_attempt: date
    """the last day on which the stage wanted it"""

    @property
    def retry_on(self) -> date:
        """The day of the next attempt: exponential backoff in days."""
        return self.last_attempt + timedelta(days=min(2 ** max(self.failed_attempts - 1, 0), MAX_DELAY_DAYS))

    @property
    def is_file(self) -> bool:
        """Whether this is a file, which is named after its model; an image is named by its URL."""
        return self.name.startswith(f"{self.id}/")

    @property
    def failure(self) -> str:
        """What failed, as a phrase."""
        return FAILURES[self.stage]

    def is_deferred(self, today: date) -> bool:
        """Return whether the item must not be tried today; a row dated in the future does not defer it."""
        return self.last_attempt <= today < self.retry_on

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self) | {"last_attempt": self.last_attempt.isoformat()}

    @classmethod
    def from_row(cls, row: Row) -> "FailedItem":
        """Return the item of a JSON form. Raises KeyError, TypeError or ValueError if the form is not valid."""
        check_choice(row["stage"], tuple(FAILURES))
        return cls(**row | {"last_attempt": parse_date(row["last_attempt"])})


def are_too_many(num_failed: int, total: int) -> bool:
    """Return whether several items failed, and so many of `total` that the cause is taken to be a general one."""
    return num_failed > max(1, MAX_FAILED_SHARE * total)


def path(root: Path) -> Path:
    """Return the path of the cache file."""
    return root / "cache" / "failed_items.jsonl"


def read(root: Path) -> dict[str, FailedItem]:
    """Return the failed items by key; an empty dictionary if the file is missing or damaged."""
    try:
        items = [FailedItem.from_row(row) for row in read_rows(path(root))]
    except (MissingArtifact, KeyError, TypeError, ValueError) as error:
        logger.warning("%s cannot be read (%r): all failed items are tried again", path(root), error)
        return {}
    return {item.key: item for item in items}


def record(
    root: Path, stage: ItemStage, failures: Iterable[FailedItem], wanted: Collection[str], today: date
) -> None:
    """Write a stage's failures of today, at most one attempt per item and day, and drop its rows of items that succeed.

    failures: with `failed_attempts` of today only (0 or 1), which are added to the recorded attempts.
    wanted: keys of everything that the stage should have processed. Rows of other stages stay.
    """
    recorded = read(root)
    items = {
        key: item
        for key, item in recorded.items()
        if item.stage != stage or (key not in wanted and today - item.retry_on < EXPIRY)
    }
    for failure in failures:
        former = recorded.get(failure.key)
        attempts = former.failed_attempts if former else 0
        if former is None or former.last_attempt != today:
            attempts += failure.failed_attempts
        else:  # at most one attempt per day counts
            attempts = max(attempts, failure.failed_attempts)
        items[failure.key] = replace(failure, failed_attempts=attempts, last_attempt=today)
    if items:
        write_rows(path(root), (items[key].to_row() for key in sorted(items)))
    else:
        path(root).unlink(missing_ok=True)
