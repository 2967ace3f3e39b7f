"""What waits for a later refresh, and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from autolora.catalog import failed_items
from autolora.catalog.failed_items import NOT_REQUESTED, FailedItem
from autolora.records import Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """The failed items, and the files that wait for the daily budget."""

    failed: tuple[FailedItem, ...]
    queued: int
    """number of files that only the daily budget keeps out"""

    @property
    def next_attempt(self) -> date | None:
        """Return the first day on which a failed item is tried again; None without failed items."""
        return min((item.retry_on for item in self.failed), default=None)


def read_waiting(root: Path, listings: Iterable[Listing]) -> Waiting:
    """Return what waits in a repository. listings: every line of its catalog."""
    failed = failed_items.read(root)
    queued = [listing for listing in listings if listing.status == "queued"]
    return Waiting(
        failed=tuple(failed.values()),
        queued=sum(not waiting_reason(listing, failed) for listing in queued),
    )


def waiting_reason(listing: Listing, failed: Mapping[str, FailedItem]) -> str:
    """Return why a queued file is not active yet; empty if it waits for the daily budget."""
    item = failed.get(listing.key)
    if item and item.reason == NOT_REQUESTED:
        return f"{item.reason}; next attempt on {item.retry_on}"
    if item:
        return f"the {item.failure} on {item.last_attempt} ({item.reason}); next attempt on {item.retry_on}"
    if listing.stale_since is not None:
        return f"its hub could not be scanned since {listing.stale_since}; it is admitted after the next complete scan"
    return ""
