"""Step 2 of a crawl, the reconciliation: the catalog's listings of one hub are updated by the hub's scan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date

from autolora.crawl.scan import HubScan, Sighting, classify
from autolora.hubs import Availability
from autolora.params import CrawlParams
from autolora.records import Listing

MAX_MISSING_SHARE = 0.5
"""a list is considered truncated if more than this share of a hub's models are missing from it but available"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconciledHub:
    """All listings of one hub after a scan, tombstones included; rules and budget are not applied yet."""

    hub: str
    listings: tuple[Listing, ...]
    problems: tuple[str, ...]
    """problems of the scan and of the reconciliation"""


def reconcile_hub(known: Sequence[Listing], scan: HubScan, rules: CrawlParams, today: date) -> ReconciledHub:
    """Return the new listings of a scan and the updated known listings. known: the hub's listings in the catalog."""
    if scan.is_down:
        stale = tuple(mark_stale(listing, today) for listing in known)
        return ReconciledHub(hub=scan.hub, listings=stale, problems=scan.problems)
    updated, unseen = [], []
    for listing, sighting in classify(known, scan, rules):
        match sighting:
            case Sighting.TOMBSTONE:
                updated.append(listing)
            case Sighting.FAILED:
                updated.append(mark_stale(listing, today))
            case Sighting.WITHDRAWN:
                updated.append(mark_withdrawn(listing, today))
            case Sighting.NOT_SEEN:
                unseen.append(listing)
            case Sighting.RELISTED | Sighting.REJECTED:
                pass  # replaced by the scan's listing, or left out of the catalog
    problems = scan.problems
    if scan.is_full:
        num_known = len({listing.id for listing in known if listing.status != "withdrawn"})
        problem = _truncation_problem(unseen, num_known, scan)
        problems += (problem,) if problem else ()
        updated += _update_missing(unseen, scan, today, is_truncated=problem is not None)
    else:
        updated += keep_unseen(unseen, scan.is_complete, today)
    return ReconciledHub(hub=scan.hub, listings=(*scan.listings, *updated), problems=problems)


def mark_withdrawn(listing: Listing, today: date) -> Listing:
    """Return the tombstone of a listing: its identity without the hub's metadata."""
    return Listing(
        hub=listing.hub,
        id=listing.id,
        version=listing.version,
        file=listing.file,
        url="",
        size=None,
        sha256=listing.sha256,
        license=None,
        base_model=None,
        nsfw=False,
        trigger_words=(),
        renderings=(),
        updated=listing.updated,
        first_seen=listing.first_seen,
        status="withdrawn",
        withdrawn=listing.withdrawn or today,
    )


def mark_stale(listing: Listing, today: date) -> Listing:
    """Return a listing that could not be checked with its hub, marked stale; tombstones are returned unchanged."""
    if listing.status == "withdrawn":
        return listing
    return replace(listing, stale_since=listing.stale_since or today)


def keep_unseen(unseen: Iterable[Listing], is_complete: bool, today: date) -> list[Listing]:
    """Return the listings that an incremental scan does not show: not stale if it was complete, else marked stale."""
    return [_mark_fresh(listing) if is_complete else mark_stale(listing, today) for listing in unseen]


def _mark_fresh(listing: Listing) -> Listing:
    return listing if listing.stale_since is None else replace(listing, stale_since=None)


def _update_missing(
    unseen: Iterable[Listing], scan: HubScan, today: date, *, is_truncated: bool
) -> list[Listing]:
    """Return the listings that a full scan does not show, updated by the availability of their models.

    Withdrawn or not found: a tombstone. Available: missing, and a tombstone if the listing was already missing in a
    full scan of an earlier day, unless the list is considered truncated. Not checked: stale.
    """
    scanned_before = scan.watermark is not None and scan.watermark.last_full_scan < today
    updated = []
    for listing in unseen:
        availability = scan.availability.get(listing.id)
        is_gone = availability in (Availability.NOT_FOUND, Availability.WITHDRAWN)
        is_missing_again = listing.status == "missing" and scanned_before and not is_truncated
        if is_gone or (availability is Availability.AVAILABLE and is_missing_again):
            updated.append(mark_withdrawn(listing, today))
        elif availability is None:
            updated.append(mark_stale(listing, today))
        else:
            status = listing.status if listing.status == "queued" else "missing"
            updated.append(replace(listing, status=status, stale_since=None))
    return updated


def _truncation_problem(unseen: Iterable[Listing], num_known: int, scan: HubScan) -> str | None:
    """Return the problem of a truncated list, or None. Models that were not checked count as available."""
    num_missing = len({listing.id for listing in unseen})
    num_checked = len(scan.availability)
    num_available = sum(availability is Availability.AVAILABLE for availability in scan.availability.values())
    if num_missing - num_checked + num_available <= MAX_MISSING_SHARE * num_known:
        return None
    return (
        f"{num_missing} of {num_known} models are missing from the list, but {num_available} of the {num_checked} "
        "checked ones are available: the list is considered truncated, and the models stay in the catalog"
    )
