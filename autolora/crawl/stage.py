"""The stage `crawl`: update the catalog with what the hubs list today.

A crawl has three steps. `scan_hub` reads one hub and returns a HubScan. `reconcile` merges all scans with the catalog
and the rules and returns a CatalogPlan. `write` writes the plan as the new catalog and advances each hub's Watermark;
nothing is written before.
"""

import math
import shutil
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path

from autolora.catalog import failed_items, takedowns
from autolora.catalog import store as catalog
from autolora.catalog.diff import read_baseline
from autolora.crawl import watermarks
from autolora.crawl.deferral import restore_images
from autolora.crawl.details import Completion
from autolora.crawl.plan import CatalogPlan, make_plan
from autolora.crawl.scan import HubScan, check_missing, failed_scan, read_hub
from autolora.errors import DiskFull, HubError
from autolora.hubs import Hub
from autolora.params import CrawlParams
from autolora.progress import Progress
from autolora.records import Listing
from autolora.storage.files import GB


def scan_hub(root: Path, hub: Hub, rules: CrawlParams, today: date) -> HubScan:
    """Return the scan of one hub: its news since its watermark, or its whole list if a full scan is due.

    Metadata in the catalog is not fetched again, except for models with a failed item that is due.
    Raises HubError if the hub is unreachable, returns an invalid response, or lists no models although the catalog has
    some; a hub that fails later gives an incomplete scan.
    """
    before = catalog.read_all_or_empty(root)
    known = [restore_images(row) for row in before if row.hub == hub.name]
    mark = watermarks.read(root).get(hub.name)
    retried = {
        item.id
        for item in failed_items.read(root).values()
        if item.hub == hub.name and not item.is_deferred(today)
    }
    reusable = [
        row for row in known if row.status != "withdrawn" and row.id not in retried and not row.is_partial
    ]
    known_by_model: defaultdict[str, dict[str, Listing]] = defaultdict(dict)
    for listing in reusable:
        known_by_model[listing.id][listing.url] = listing
    completion = Completion(
        hub=hub,
        rules=rules,
        known=known_by_model,
        urgent=retried | {listing.id for listing in known if listing.is_active},
    )
    scan = read_hub(completion, known, mark, today)
    scan = _request_admitted(root, completion, scan, before, today)
    return check_missing(hub, scan, known, rules, today) if scan.is_full else scan


def _request_admitted(
    root: Path, completion: Completion, scan: HubScan, before: Sequence[Listing], today: date
) -> HubScan:
    """Return the scan with those models requested that are admitted, as if no other hub was crawled.

    A file that the rules reject once its size is known makes room for another one, which needs another round.
    """
    make, first = _planner(root, before, completion.rules, today), len(completion.waiting)
    with Progress(
        f"crawl, hub {scan.hub}", noun="models requested", count=lambda: first - len(completion.waiting)
    ):
        num_waiting = first + 1
        while 0 < len(completion.waiting) < num_waiting:
            num_waiting = len(completion.waiting)
            plan = make([scan], waiting=completion.waiting)
            completion.request(row.id for row in plan.listings if row.is_active and not row.complete)
            scan = scan.with_completed(completion)
    return scan


def keep_stale(root: Path, hub: str, rules: CrawlParams, error: HubError) -> HubScan:
    """Return the scan of a hub that could not be scanned: its listings stay in the catalog, marked stale."""
    return failed_scan(hub, watermarks.read(root).get(hub), rules, error)


def reconcile(root: Path, scans: Sequence[HubScan], rules: CrawlParams, today: date) -> CatalogPlan:
    """Return the next catalog from the scans of all hubs.

    Raises HubError if no hub could be scanned, DiskFull if there is no file yet and the disk has no room for any.
    """
    if all(scan.is_down for scan in scans):
        problems = " | ".join(problem for scan in scans for problem in scan.problems)
        raise HubError(f"{problems} (the catalog was not changed)")
    plan = _planner(root, catalog.read_all_or_empty(root), rules, today)(scans)
    if plan.without_room and not any(listing.is_active for listing in plan.listings):
        raise DiskFull(f"{plan.no_room} (the catalog was not changed)")
    return plan


def _planner(
    root: Path, before: Sequence[Listing], rules: CrawlParams, today: date
) -> Callable[..., CatalogPlan]:
    """Return `make_plan` with all that a repository knows. before: the current catalog.

    A crawl outside of a refresh starts from the current catalog. A refresh that goes on with what a failed or refused
    one has begun starts where that one did, so that both together admit the new files of one night.
    """
    baseline = read_baseline(root)
    return partial(
        make_plan,
        before=before,
        at_start=baseline.listings if baseline else before,
        failed=failed_items.read(root),
        rules=rules,
        today=today,
        takedowns=takedowns.read(root),
        room=math.inf if rules.min_free_gb is None else shutil.disk_usage(root).free - rules.min_free_gb * GB,
    )


def write(root: Path, plan: CatalogPlan) -> None:
    """Write a plan as the new catalog and advance the watermarks."""
    catalog.write(root, plan.listings)
    marks = {scan.hub: _advance(scan, plan.today) for scan in plan.scans}
    watermarks.write(root, {hub: mark for hub, mark in marks.items() if mark})


def _advance(scan: HubScan, today: date) -> watermarks.Watermark | None:
    """Return the hub's watermark after a scan; the former one, or None, if the scan was not complete.

    The watermark stays at or before every new model that could not be completed, so that the next scan reads it again.
    """
    mark = scan.watermark
    if not scan.is_complete:
        return mark
    times = [min(model.updated, watermarks.end_of(today)) for model in scan.models.values()]
    if mark:
        times.append(mark.newest)
    if not times:
        return None
    failed = [model.updated for model in scan.models.values() if model.id in scan.failed]
    new_failed = [updated for updated in failed if not mark or updated > mark.newest]
    return watermarks.Watermark(
        newest=min([max(times), *new_failed]),
        last_full_scan=today if scan.is_full or mark is None else mark.last_full_scan,
        rules=scan.rules_digest,
    )


def restore(root: Path) -> bool:
    """Restore a missing catalog and its watermarks from the last commit; return whether the catalog was restored."""
    restored = catalog.restore(root)
    if restored:
        watermarks.restore(root)
    return restored
