"""What became of every file that a refresh found or lost: the operator's view of a refresh, one row per file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from autolora.catalog.diff import Changes, Snapshot, identity, qualified_name
from autolora.catalog.failed_items import NOT_REQUESTED, FailedItem
from autolora.catalog.sources import Sources, group_sources
from autolora.catalog.takedowns import Takedowns
from autolora.hubs.pages import page_of
from autolora.lora.remedies import REMEDIES
from autolora.params import HubsParams
from autolora.records import Adapter, Listing
from autolora.storage.files import Row

Kind = Literal["accepted", "refused", "duplicate", "waiting", "changed", "removed"]
KINDS: tuple[str, ...] = get_args(Kind)
NEW: tuple[str, ...] = KINDS[:4]
"""the kinds of new files"""
LABELS = {
    "accepted": "accepted",
    "refused": "refused",
    "duplicate": "already in the pool",
    "waiting": "waiting",
    "changed": "changed metadata",
    "removed": "removed",
}
"""kind -> what people read"""
TURN = "it waits for a later night: crawl.max_new_files and crawl.min_free_gb in params.yaml limit what one admits"
UNREAD = "the pool has not read it yet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of one file."""

    kind: Kind
    name: str
    """hub:id/file, as `autolora show` accepts it"""
    sha256: str | None
    """None if neither the hub nor the pool has computed it"""
    code: str = ""
    """reason code of a refused file"""
    reason: str = ""
    """why, in words; empty if accepted"""
    remedy: str = ""
    """what to do about a refused file"""
    page: str | None = None
    """URL of the model's page on its hub; None for a folder of files"""

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self)


def outcomes(
    changes: Changes,
    after: Snapshot,
    adapters: Mapping[str, Adapter],
    failed: Mapping[str, FailedItem],
    hubs: HubsParams,
) -> list[Outcome]:
    """Return what became of each new, waiting, changed and removed file, by kind in the order of KINDS, then by name.

    after: the snapshot that ends the changes. adapters: rows of the pool by Listing.key. failed: failed items by key.
    hubs: where the pages of the models are.
    """
    sources = group_sources(
        (listing for listing in after.listings if listing.is_active),
        lambda listing: _sha256(listing, adapters) or listing.key,
    )
    lost = {identity(listing): listing for listing in (*changes.withdrawn, *changes.removed)}
    remaining, takedowns = {identity(item): item for item in after.listings}, Takedowns(after.takedowns)
    rows = [(listing, _new(listing, adapters.get(listing.key), sources)) for listing in changes.added]
    waiting = {identity(listing): waiting_reason(listing, failed) for listing in changes.queued}
    rows += [
        (listing, _outcome("waiting", listing, adapters, waiting[identity(listing)]))
        for listing in changes.queued
        if identity(listing) not in lost
    ]
    rows += [
        (listing, _outcome("changed", listing, adapters, ", ".join(fields).replace("_", " ")))
        for listing, fields in changes.changed
    ]
    rows += [
        (
            listing,
            _outcome(
                "removed",
                listing,
                adapters,
                _removal_reason(listing, remaining.get(name), takedowns, waiting.get(name, "")),
            ),
        )
        for name, listing in lost.items()
    ]
    linked = (replace(row, page=page_of(hubs, listing.hub, listing.id)) for listing, row in rows)
    return sorted(linked, key=lambda row: (KINDS.index(row.kind), row.name))


def _new(listing: Listing, adapter: Adapter | None, sources: Mapping[str, Sources]) -> Outcome:
    """Return what became of a listing that became active, or that lists another file than before."""
    from autolora.pool.near_duplicates import NEAR_DUPLICATE  # here, because it imports torch

    name = qualified_name(listing)
    if adapter is None:
        return Outcome(kind="waiting", name=name, sha256=listing.sha256, reason=UNREAD)
    primary = sources[adapter.sha256].primary
    if adapter.verdict == NEAR_DUPLICATE:
        return Outcome(kind="duplicate", name=name, sha256=adapter.sha256, reason=adapter.reason)
    if not adapter.accepted:
        return Outcome(
            kind="refused", name=name, sha256=adapter.sha256, code=adapter.verdict, reason=adapter.reason,
            remedy=REMEDIES[adapter.verdict],
        )  # fmt: skip
    if identity(primary) != identity(listing):
        reason = f"the same bytes as {qualified_name(primary)}: one adapter with several sources"
        return Outcome(kind="duplicate", name=name, sha256=adapter.sha256, reason=reason)
    return Outcome(kind="accepted", name=name, sha256=adapter.sha256)


def waiting_reason(listing: Listing, failed: Mapping[str, FailedItem]) -> str:
    """Return why a queued file is not active yet."""
    item = failed.get(listing.key)
    if item and item.reason == NOT_REQUESTED:
        return f"{item.reason}; next attempt on {item.retry_on}"
    if item:
        return f"the {item.failure} on {item.last_attempt} ({item.reason}); next attempt on {item.retry_on}"
    if listing.stale_since is not None:
        return f"its hub could not be scanned since {listing.stale_since}; it is admitted after the next complete scan"
    return TURN


def _removal_reason(listing: Listing, later: Listing | None, takedowns: Takedowns, waiting: str) -> str:
    """Return why a file left. later: what the catalog now holds under its name. waiting: why that is queued."""
    takedown = takedowns.of_listing(listing)
    if takedown:
        return f"taken down ({takedown.reason})"
    if later is None:
        return "the catalog does not list it any more"
    if later.is_active:
        return "replaced by another version"
    return {
        "withdrawn": "withdrawn by its hub",
        "rejected": "excluded by a rule in the section crawl of params.yaml",
    }.get(later.status, waiting)


def _outcome(kind: Kind, listing: Listing, adapters: Mapping[str, Adapter], reason: str) -> Outcome:
    name = qualified_name(listing)
    return Outcome(kind=kind, name=name, sha256=_sha256(listing, adapters), reason=reason)


def _sha256(listing: Listing, adapters: Mapping[str, Adapter]) -> str | None:
    adapter = adapters.get(listing.key)
    return adapter.sha256 if adapter else listing.sha256
