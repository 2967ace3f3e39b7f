"""Deferral of failed items: the crawl leaves new files and images out of the pool until their next attempt."""

from collections.abc import Container, Iterable, Mapping, Set
from dataclasses import replace
from datetime import date

from autolora.catalog.failed_items import MAX_FAILED_SHARE, FailedItem
from autolora.crawl.reconcile import mark_stale
from autolora.records import Listing


def defer_failed(
    listings: Iterable[Listing],
    at_start: Iterable[Listing],
    failed: Mapping[str, FailedItem],
    today: date,
) -> tuple[list[Listing], Set[str]]:
    """Return the listings without deferred items, and the keys of the items that are deferred.

    A deferred image is left out of its listing's renderings. A deferred version of a file is replaced by the version
    that was active at the start of the refresh, marked stale; if there was none, the listing stays and waits.
    """
    active = [listing for listing in at_start if listing.is_active]
    by_file = {(listing.hub, listing.id, listing.file): listing for listing in active}
    deferrable = _deferrable(failed, {key for listing in active for key in _keys(listing)}, today)
    result = []
    for listing in listings:
        if listing.status == "withdrawn":
            result.append(listing)
            continue
        former = by_file.get((listing.hub, listing.id, listing.file)) if listing.key in deferrable else None
        if former and former.key != listing.key:
            result.append(_without_images(mark_stale(restore_images(former), today), deferrable))
        else:
            result.append(_without_images(listing, deferrable))
    return result, deferrable


def _deferrable(failed: Mapping[str, FailedItem], active_keys: Set[str], today: date) -> Set[str]:
    """Return the keys of the items that are deferred today.

    Files and images that were in the pool are never deferred. If more than MAX_FAILED_SHARE of the active ones would be
    deferred, none of the active ones is.
    """
    deferrable = {key for key, item in failed.items() if item.is_deferred(today) and not item.was_in_pool}
    is_general = len(deferrable & active_keys) > MAX_FAILED_SHARE * len(active_keys)
    return deferrable - active_keys if is_general else deferrable


def _keys(listing: Listing) -> set[str]:
    """Return the keys of a listing's file and images."""
    return {listing.key, *(rendering.key for rendering in listing.renderings)}


def restore_images(listing: Listing) -> Listing:
    """Return the listing as its hub lists it, with the images that an earlier crawl has left out."""
    if not listing.deferred_renderings:
        return listing
    renderings = list(listing.renderings)
    for position, rendering in listing.deferred_renderings:
        renderings.insert(position, rendering)
    return replace(listing, renderings=tuple(renderings), deferred_renderings=())


def _without_images(listing: Listing, keys: Container[str]) -> Listing:
    """Return the listing without the images of these keys, which it stores as deferred."""
    images = list(enumerate(listing.renderings))
    deferred = tuple((position, image) for position, image in images if image.key in keys)
    if not deferred:
        return listing
    renderings = tuple(image for _, image in images if image.key not in keys)
    return replace(listing, renderings=renderings, deferred_renderings=deferred)
