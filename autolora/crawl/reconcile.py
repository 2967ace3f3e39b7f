"""Step 2 of a crawl, the reconciliation: the catalog's listings of one hub are updated by the hub's scan."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from autolora.crawl.scan import HubScan, Sighting, classify
from autolora.hubs import Availability
from autolora.params import CrawlParams
from autolora.records import Listing

ALWAYS_BELIEVED = 2
"""absent models of a hub that are believed whatever their share: of a few models, every removal is a large share"""
RECENT = timedelta(days=7)
"""in which the withdrawals of earlier nights count too: a hub that fails for days loses a part each night"""


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
    problems = (*scan.problems, *(f"{id}: {reason}" for id, reason in scan.failed.items()))
    if scan.is_full:
        problem = _absence_problem(unseen, known, scan, rules.max_withdrawn_share, today)
        problems += (problem,) if problem else ()
        updated += _update_absent(unseen, scan, today, is_believed=problem is None)
    else:
        updated += keep_unseen(unseen, scan.is_complete, today)
    return ReconciledHub(hub=scan.hub, listings=(*scan.listings, *updated), problems=problems)


def mark_withdrawn(listing: Listing, today: date) -> Listing:
    """Return the tombstone of a listing: all of its metadata, with the new status and the day of the withdrawal."""
    return replace(listing, status="withdrawn", withdrawn=listing.withdrawn or today, stale_since=None)


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


def _update_absent(
    unseen: Iterable[Listing], scan: HubScan, today: date, *, is_believed: bool
) -> list[Listing]:
    """Return the listings that a full scan does not show, updated by the availability of their models.

    A withdrawal that the model's own page states is believed in any case: it concerns this model, takes effect at once,
    and cannot come from a server that does not know the model. is_believed: absences are believed too.
    """
    scanned_before = scan.watermark is not None and scan.watermark.last_full_scan < today
    updated = []
    for listing in unseen:
        availability = scan.availability.get(listing.id)
        is_listable = not scan.is_truncated or listing.id in scan.models
        is_missing_again = listing.status == "missing" and scanned_before and is_listable
        is_absent = availability is Availability.NOT_FOUND or (
            availability is Availability.AVAILABLE and is_missing_again
        )
        if availability is Availability.WITHDRAWN or (is_absent and is_believed):
            updated.append(mark_withdrawn(listing, today))
        elif availability is Availability.NOT_FOUND or (availability is None and is_listable):
            updated.append(mark_stale(listing, today))
        elif is_listable and listing.status != "queued":
            updated.append(replace(listing, status="missing", stale_since=None))
        else:
            updated.append(_mark_fresh(listing))
    return updated


def _absence_problem(
    unseen: Iterable[Listing], known: Sequence[Listing], scan: HubScan, max_share: float, today: date
) -> str | None:
    """Return the problem of a scan in which too many models are absent to be believed, or None.

    Absent are the models that the list does not show, except those that are withdrawn according to their own pages; of
    a truncated list, which proves no absence, only the models whose own pages are not found.
    """
    availability = {listing.id: scan.availability.get(listing.id) for listing in unseen}
    not_found = sum(value is Availability.NOT_FOUND for value in availability.values())
    available = sum(value is Availability.AVAILABLE for value in availability.values())
    unchecked = sum(value is None for value in availability.values())
    if scan.is_truncated:
        absent, num_models, models = not_found, len(scan.availability), "checked models"
    else:
        num_known = len({listing.id for listing in known if listing.status != "withdrawn"})
        absent, num_models, models = not_found + available + unchecked, num_known, "known models"
    recent = _recently_withdrawn(known, num_models, max_share, today)
    if absent <= ALWAYS_BELIEVED or absent + recent <= max_share * (num_models + recent):
        return None
    before = f" and {recent} were withdrawn in the {RECENT.days} days before" if recent else ""
    return (
        f"{absent} of {num_models} {models} are absent ({not_found} not found, {available} missing from the list but "
        f"available, {unchecked} not checked){before}, more than crawl.max_withdrawn_share = {max_share:g} allows: "
        f"none of them is withdrawn. Check hubs.{scan.hub} and crawl.filters; if the models are gone, set "
        "crawl.max_withdrawn_share to 1 for one crawl"
    )


def _recently_withdrawn(known: Iterable[Listing], num_models: int, max_share: float, today: date) -> int:
    """Return the number of models that were withdrawn lately; 0 if they are more than a night may withdraw.

    So many were withdrawn by an operator's confirmation, or by statements on single models.
    """
    days = ((listing.id, listing.withdrawn) for listing in known if listing.withdrawn)
    recent = len({id for id, day in days if day > today - RECENT})
    return recent if recent <= max_share * (num_models + recent) else 0
