"""The plan of a crawl: the next catalog, made from the reconciled listings of all hubs."""

import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date

from autolora.catalog.failed_items import FailedItem
from autolora.catalog.store import position
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.crawl.deferral import defer_failed, restore_images
from autolora.crawl.reconcile import reconcile_hub
from autolora.crawl.scan import HubScan
from autolora.hubs import limit_images, rejecting_rule
from autolora.params import CrawlParams
from autolora.records import Listing
from autolora.storage.files import MB
from autolora.wording import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class CatalogPlan:
    """The catalog that a crawl is about to write, and what was left out of it."""

    today: date
    before: Sequence[Listing]
    """the current catalog"""
    scans: tuple[HubScan, ...]
    problems: Mapping[str, Sequence[str]]
    """hub -> problems of its scan and reconciliation"""
    listings: tuple[Listing, ...]
    """all listings of the next catalog, in its order"""
    without_room: int
    """number of new files that only crawl.min_free_gb keeps out"""
    taken_down: tuple[tuple[Listing, Takedown], ...]
    """listings of files that were taken down, but are still listed"""

    @property
    def no_room(self) -> str:
        """Return that the disk has no room for `without_room` files, and what to do."""
        files = counted(self.without_room, "new file")
        return f"no room for {files}: free some space, or lower crawl.min_free_gb in params.yaml"


def make_plan(
    scans: Sequence[HubScan],
    before: Sequence[Listing],
    at_start: Sequence[Listing],
    failed: Mapping[str, FailedItem],
    rules: CrawlParams,
    today: date,
    takedowns: Takedowns = Takedowns(),
    room: float = math.inf,
    waiting: Container[str] = (),
) -> CatalogPlan:
    """Return the next catalog: the scans are reconciled with the current catalog, then the rules are applied.

    The rules and takedowns apply to known listings too. A known listing that a rule excludes, or whose hub is no longer
    crawled, stays as rejected, so that it keeps its first_seen.
    at_start: the catalog at the start of the refresh. failed: failed items by key. room, waiting: as in `_admit`.
    """
    at_start = [takedowns.apply(listing) for listing in at_start]
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
    allowed = _apply_rules([takedowns.apply(listing) for listing in listings], rules)
    dated = _with_first_seen(allowed, before)
    available, deferred = defer_failed(dated, at_start, failed, today)
    available.sort(key=position)
    files, without_room = _admit(available, before, at_start, rules, deferred, room, waiting)
    admitted = [_with_status(listing, listing.key in files) for listing in available]
    rejected = [takedowns.apply(listing) for listing in _keep_rejected(before, available)]
    complete = sorted([*admitted, *rejected], key=position)
    return CatalogPlan(
        today=today,
        before=before,
        scans=tuple(scans),
        problems={hub.hub: hub.problems for hub in reconciled},
        listings=tuple(complete),
        without_room=without_room,
        taken_down=tuple(taken_down),
    )


def _apply_rules(listings: Iterable[Listing], rules: CrawlParams) -> list[Listing]:
    """Return the allowed listings, each once; tombstones are unchanged."""
    distinct = {(listing.hub, listing.id, listing.file, listing.url): listing for listing in listings}
    allowed: list[Listing] = []
    num_allowed: Counter[str] = Counter()
    for listing in sorted(distinct.values(), key=lambda listing: listing.updated or "", reverse=True):
        if listing.status == "withdrawn":
            allowed.append(listing)
        elif rejecting_rule(listing, rules) is None:
            num_allowed[listing.hub] += 1
            if rules.newest is None or num_allowed[listing.hub] <= rules.newest:
                allowed.append(limit_images(listing, rules))
    return allowed


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


def _admit(
    listings: Iterable[Listing],
    before: Iterable[Listing],
    at_start: Iterable[Listing],
    rules: CrawlParams,
    deferred: Set[str],
    room: float,
    waiting: Container[str],
) -> tuple[set[str], int]:
    """Return the keys of the files that are active, and the number of those that only a lack of room keeps out.

    Files that were active at the start of the refresh stay active, as do those that an earlier crawl of it admitted. Of
    the others each hub adds as many as crawl.max_new_files leaves and as have room: by first_seen, and of one day the
    most downloaded first. A file of several hubs counts for the first. A file waits if its hub could not check it, its
    download is deferred, or its model has not been requested.
    deferred: keys of deferred files. room: bytes of new files. waiting: ids of models that can be requested yet.
    """
    files = {listing.key for listing in at_start if listing.is_active} - deferred
    admitted = {listing.key for listing in before if listing.is_active} - deferred
    groups: defaultdict[str, list[Listing]] = defaultdict(list)
    for listing in listings:
        if listing.status != "withdrawn" and listing.key not in files:
            groups[listing.key].append(listing)
    added: Counter[str] = Counter()
    without_room = 0
    for key in sorted(groups, key=lambda key: (key not in admitted, *_rank(groups[key]))):
        listing = next((row for row in groups[key] if row.stale_since is None), groups[key][0])
        size = int(rules.max_file_mb * MB) if listing.size is None else listing.size
        if key not in admitted:
            is_over = rules.max_new_files is not None and added[listing.hub] >= rules.max_new_files
            if key in deferred or listing.stale_since is not None or is_over:
                continue
            if size > room:
                without_room += 1
                continue
            if listing.is_partial and listing.id not in waiting:
                continue
        files.add(key)
        added[listing.hub] += 1
        room -= size
    return files, without_room


def _rank(group: Sequence[Listing]) -> tuple[object, ...]:
    first_seen = min(listing.first_seen for listing in group)
    return first_seen, -max(listing.downloads or 0 for listing in group)


def _with_status(listing: Listing, is_active: bool) -> Listing:
    """Return the listing as listed or queued; withdrawn listings, and missing ones that are active, are unchanged."""
    if listing.status == "withdrawn" or (listing.status == "missing" and is_active):
        return listing
    status = "listed" if is_active else "queued"
    return listing if listing.status == status else replace(listing, status=status)
