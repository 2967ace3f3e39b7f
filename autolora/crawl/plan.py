"""The plan of a crawl: the next catalog, made from the reconciled listings of all hubs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from autolora.catalog.failed_items import FailedItem
from autolora.catalog.store import position
from autolora.catalog.takedowns import TAKEN_DOWN, Takedown, Takedowns
from autolora.crawl.budget import Admission, Request, admit
from autolora.crawl.deferral import defer_failed, restore_images
from autolora.crawl.reconcile import reconcile_hub
from autolora.crawl.scan import HubScan
from autolora.hubs import limit_images, rejecting_rule
from autolora.params import CrawlParams
from autolora.records import Listing


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogPlan:
    """The catalog that a crawl is about to write, and what was left out of it."""

    today: date
    catalog_at_day_start: Sequence[Listing]
    before: Sequence[Listing]
    """the current catalog"""
    scans: tuple[HubScan, ...]
    problems: Mapping[str, Sequence[str]]
    """hub -> problems of its scan and reconciliation"""
    left_out: Mapping[str, Mapping[str, int]]
    """hub -> rule -> number of files that it rejects"""
    admission: Admission
    deferred: tuple[FailedItem, ...]
    """failed items that are listed, and deferred today"""
    taken_down: tuple[tuple[Listing, Takedown], ...]
    """listings of files that were taken down, but are still listed"""

    @property
    def listings(self) -> tuple[Listing, ...]:
        """All listings of the next catalog, in its order."""
        return self.admission.listings


def make_plan(
    scans: Sequence[HubScan],
    before: Sequence[Listing],
    catalog_at_day_start: Sequence[Listing],
    failed: Mapping[str, FailedItem],
    rules: CrawlParams,
    today: date,
    takedowns: Takedowns = Takedowns(),
    request: Request = lambda listing: listing,
) -> CatalogPlan:
    """Return the next catalog: the scans are reconciled with the current catalog, then rules and budget are applied.

    The rules and takedowns apply to known listings too. A known listing that a rule excludes, or whose hub is no longer
    crawled, stays as rejected, so that it keeps its first_seen.
    failed: failed items by key. request: as in `admit_queued`.
    """
    catalog_at_day_start = [takedowns.apply(listing) for listing in catalog_at_day_start]
    reconciled = [
        reconcile_hub([restore_images(row) for row in before if row.hub == scan.hub], scan, rules, today)
        for scan in scans
    ]
    scanned = {scan.hub for scan in scans}
    tombstones = [
        listing for listing in before if listing.hub not in scanned and listing.status == "withdrawn"
    ]
    listings = [*(listing for hub in reconciled for listing in hub.listings), *tombstones]
    taken_down = [
        (listing, takedown)
        for listing in listings
        if listing.status != "withdrawn" and (takedown := takedowns.of_listing(listing))
    ]
    allowed, left_out = _apply_rules([takedowns.apply(listing) for listing in listings], rules)
    for listing, _ in taken_down:
        left_out[listing.hub][TAKEN_DOWN] += 1
    for scan in scans:
        left_out[scan.hub].update(scan.left_out)
    dated = _with_first_seen(allowed, before)
    available, deferred = defer_failed(dated, catalog_at_day_start, failed, today)
    available.sort(key=position)
    admission = admit(
        available,
        before,
        rules,
        catalog_at_day_start=catalog_at_day_start,
        deferred=deferred.keys(),
        request=request,
    )
    rejected = [takedowns.apply(listing) for listing in _keep_rejected(before, available)]
    complete = sorted([*admission.listings, *rejected], key=position)
    return CatalogPlan(
        today=today,
        catalog_at_day_start=catalog_at_day_start,
        before=before,
        scans=tuple(scans),
        problems={hub.hub: hub.problems for hub in reconciled},
        left_out=left_out,
        admission=replace(admission, listings=tuple(complete)),
        deferred=tuple(deferred.values()),
        taken_down=tuple(taken_down),
    )


def _apply_rules(
    listings: Iterable[Listing], rules: CrawlParams
) -> tuple[list[Listing], defaultdict[str, Counter[str]]]:
    """Return the allowed listings, each once, and hub -> rule -> number of rejected files; tombstones are unchanged."""
    left_out: defaultdict[str, Counter[str]] = defaultdict(Counter)
    distinct = {(listing.hub, listing.id, listing.file, listing.url): listing for listing in listings}
    allowed: list[Listing] = []
    num_allowed: Counter[str] = Counter()
    for listing in sorted(distinct.values(), key=lambda listing: listing.updated or "", reverse=True):
        rule = None if listing.status == "withdrawn" else rejecting_rule(listing, rules)
        if listing.status != "withdrawn" and rule is None:
            num_allowed[listing.hub] += 1
            is_beyond = rules.newest is not None and num_allowed[listing.hub] > rules.newest
            rule = "newest" if is_beyond else None
        if rule:
            left_out[listing.hub][rule] += 1
        else:
            allowed.append(listing if listing.status == "withdrawn" else limit_images(listing, rules))
    return allowed, left_out


def _keep_rejected(before: Iterable[Listing], allowed: Iterable[Listing]) -> list[Listing]:
    """Return the listings of the current catalog whose files are not among the allowed ones, as rejected.

    Partial ones are left out: if the rules admit such a file later, its hub lists it again.
    """
    files = {(listing.hub, listing.id, listing.file) for listing in allowed}
    return [
        replace(listing, status="rejected", stale_since=None)
        for listing in before
        if not (listing.status == "withdrawn" or listing.is_partial)
        and (listing.hub, listing.id, listing.file) not in files
    ]


def _with_first_seen(listings: Iterable[Listing], before: Iterable[Listing]) -> list[Listing]:
    """Return the listings, each with the earliest `first_seen` of its file in the current catalog."""
    first_seen: dict[str, date] = {}
    for listing in before:
        first_seen[listing.key] = min(listing.first_seen, first_seen.get(listing.key, listing.first_seen))
    return [_dated(listing, first_seen.get(listing.key, listing.first_seen)) for listing in listings]


def _dated(listing: Listing, day: date) -> Listing:
    return listing if day == listing.first_seen else replace(listing, first_seen=day)
