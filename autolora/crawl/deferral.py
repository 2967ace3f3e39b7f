"""Deferral of failed downloads: the crawl leaves new files and images out of the pool until their next attempt."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from datetime import date

from autolora.catalog.failed_downloads import FailedDownload
from autolora.crawl.reconcile import mark_stale
from autolora.records import Listing

MAX_DEFERRED_SHARE = 0.5
"""if more than this share of the active files and images failed, the cause is taken to be a general one"""


def defer_failed(
    listings: Iterable[Listing],
    catalog_at_day_start: Iterable[Listing],
    failed: Mapping[str, FailedDownload],
    today: date,
) -> tuple[list[Listing], dict[str, FailedDownload]]:
    """Return the listings without deferred downloads, and the deferred downloads of listed files and images by key.

    A deferred image is left out of its listing. A deferred version of a file is replaced by the version that was active
    at the start of the day, marked stale; if there was none, the listing stays and the budget keeps the file queued.
    """
    active = [listing for listing in catalog_at_day_start if listing.is_active]
    by_file = {(listing.hub, listing.id, listing.file): listing for listing in active}
    deferrable = _deferrable(failed, {key for listing in active for key in _keys(listing)}, today)
    deferred: dict[str, FailedDownload] = {}
    result = []
    for listing in listings:
        if listing.status == "withdrawn":
            result.append(listing)
            continue
        deferred |= {key: deferrable[key] for key in _keys(listing) & deferrable.keys()}
        former = by_file.get((listing.hub, listing.id, listing.file)) if listing.key in deferrable else None
        if former and former.key != listing.key:
            result.append(mark_stale(former, today))
        else:
            result.append(_without_images(listing, deferrable))
    return result, deferred


def _deferrable(
    failed: Mapping[str, FailedDownload], active_keys: set[str], today: date
) -> dict[str, FailedDownload]:
    """Return the downloads that may be deferred today.

    Files and images that were in the pool are never deferred. If more than MAX_DEFERRED_SHARE of the active ones would
    be deferred, none of the active ones is.
    """
    deferrable = {
        key: download
        for key, download in failed.items()
        if download.is_deferred(today) and not download.was_in_pool
    }
    if len(deferrable.keys() & active_keys) > MAX_DEFERRED_SHARE * len(active_keys):
        return {key: download for key, download in deferrable.items() if key not in active_keys}
    return deferrable


def _keys(listing: Listing) -> set[str]:
    """Return the keys of a listing's file and images."""
    return {listing.key, *(rendering.key for rendering in listing.renderings)}


def _without_images(listing: Listing, keys: Container[str]) -> Listing:
    """Return the listing without the images of these keys."""
    renderings = tuple(rendering for rendering in listing.renderings if rendering.key not in keys)
    return listing if len(renderings) == len(listing.renderings) else replace(listing, renderings=renderings)
