"""Comparison of two snapshots of the catalog and the stage digests: what a refresh changed."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.catalog.names import full_name
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.records import Listing
from autolora.storage.files import write_atomic
from autolora.storage.hashes import canonical_json

BASELINE = "cache/refresh_baseline.json"
"""where the snapshot is stored that the next report of a refresh starts from"""
METADATA = (
    "license", "permissions", "nsfw", "nsfw_level", "person", "minor", "base_model", "trigger_words", "description",
    "renderings", "id", "file",
)  # fmt: skip
"""the fields of a listing whose changes are reported"""
INACTIVE = ("withdrawn", "rejected")
"""statuses of listings that no crawl is expected to list"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The catalog, the digests of all stages and the takedowns at one moment."""

    listings: tuple[Listing, ...]
    """every line of the catalog"""
    digests: dict[str, str]
    """stage -> sha256"""
    takedowns: tuple[Takedown, ...] = ()

    @property
    def active(self) -> dict[str, Listing]:
        """The active listings by Listing.key; of a file with several sources, the first listing."""
        return {listing.key: listing for listing in reversed(self.listings) if listing.is_active}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "listings": [listing.to_row() for listing in self.listings],
            "digests": self.digests,
            "takedowns": [row.to_row() for row in self.takedowns],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the snapshot of a JSON form."""
        return cls(
            tuple(Listing.from_row(row) for row in content["listings"]),
            content["digests"],
            tuple(Takedown.from_row(row) for row in content["takedowns"]),
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference of two snapshots, and the listings of the later one that need attention."""

    added: tuple[Listing, ...]
    """listings that became active, or that list another file than before; several may list one file"""
    removed: tuple[Listing, ...]
    """listings that are no longer active"""
    changed: tuple[tuple[Listing, tuple[str, ...]], ...]
    """active listings with changed metadata, each with the names of the changed fields"""
    stages: dict[str, bool]
    """stage -> whether its digest changed"""
    withdrawn: tuple[Listing, ...]
    """new tombstones, except those of takedowns"""
    taken_down: tuple[Takedown, ...]
    """new takedowns, files first"""
    queued: tuple[Listing, ...]
    """listings that wait for a later night: for their turn, a retry of their download, or a scan of their hub"""
    stale: tuple[Listing, ...]
    """listings retained from an earlier crawl: their hub or model could not be read, or a newer version is deferred"""
    missing: tuple[Listing, ...]
    """listings that are missing from their hub's list, but whose model pages are still available"""
    dropped_hubs: Mapping[str, int]
    """hub without any listing left -> number of listings it had before"""

    def __bool__(self) -> bool:
        moved = any(self.stages.values()) or self.added or self.removed or self.changed or self.withdrawn
        return bool(
            moved or self.taken_down or self.queued or self.stale or self.missing or self.dropped_hubs
        )


def snapshot(root: Path) -> Snapshot:
    """Return the current catalog, digests and takedowns; a missing file counts as empty."""
    digests = {
        path.stem: json.loads(path.read_text())["sha256"]
        for path in sorted((root / "digests").glob("*.json"))
    }
    return Snapshot(tuple(catalog.read_all_or_empty(root)), digests, takedowns.read(root).rows)


def read_baseline(root: Path) -> Snapshot | None:
    """Return the snapshot that the next report starts from; None if no refresh or takedown has begun."""
    path = root / BASELINE
    return Snapshot.from_json(json.loads(path.read_text())) if path.exists() else None


def keep_baseline(root: Path) -> Snapshot:
    """Return the snapshot that the next report starts from: the stored one, or the current one, which is then stored.

    A takedown stores it before it changes the catalog, and a refresh before it crawls. A successful refresh removes it.
    """
    if baseline := read_baseline(root):
        return baseline
    current = snapshot(root)
    write_atomic(root / BASELINE, canonical_json(current.to_json()))
    return current


def compare(before: Snapshot, after: Snapshot) -> Changes:
    """Return the changes from `before` to `after`."""
    old, new = before.active, after.active
    changed = [
        (new[key], fields)
        for key in new.keys() & old.keys()
        if (fields := _changed_fields(old[key], new[key]))
    ]
    listed = Takedowns(after.takedowns)
    known = {row.identity for row in before.takedowns}
    new_takedowns = [row for row in after.takedowns if row.identity not in known]
    stages = sorted(before.digests.keys() | after.digests.keys())
    return Changes(
        added=_added(before, after),
        removed=tuple(sorted((old[key] for key in old.keys() - new.keys()), key=identity)),
        changed=tuple(sorted(changed, key=lambda pair: identity(pair[0]))),
        stages={stage: before.digests.get(stage) != after.digests.get(stage) for stage in stages},
        withdrawn=tuple(
            listing
            for listing in newly_withdrawn(before.listings, after.listings)
            if not listed.of_listing(listing)
        ),
        taken_down=tuple(sorted(new_takedowns, key=lambda row: row.kind != "weights")),
        queued=_with_status(after, "queued"),
        stale=tuple(listing for listing in after.listings if listing.stale_since),
        missing=_with_status(after, "missing"),
        dropped_hubs=dropped_hubs(
            before.listings, {listing.hub for listing in after.listings if listing.status not in INACTIVE}
        ),
    )


def _added(before: Snapshot, after: Snapshot) -> tuple[Listing, ...]:
    known = {(identity(listing), listing.key) for listing in before.listings if listing.is_active}
    new = (
        listing
        for listing in after.listings
        if listing.is_active and (identity(listing), listing.key) not in known
    )
    return tuple(sorted(new, key=identity))


def newly_withdrawn(before: Iterable[Listing], after: Iterable[Listing]) -> tuple[Listing, ...]:
    """Return the tombstones of `after` that are not tombstones in `before`."""
    known = {identity(listing) for listing in before if listing.status == "withdrawn"}
    return tuple(
        listing for listing in after if listing.status == "withdrawn" and identity(listing) not in known
    )


def dropped_hubs(before: Iterable[Listing], hubs: Collection[str]) -> dict[str, int]:
    """Return hub -> number of its listings in `before`, for all hubs except `hubs`; INACTIVE ones do not count."""
    return dict(
        Counter(
            listing.hub for listing in before if listing.status not in INACTIVE and listing.hub not in hubs
        )
    )


def qualified_name(listing: Listing) -> str:
    """Return the name of a listing as `autolora show` accepts it: hub:id/file, or folder:path."""
    return full_name(listing.hub, listing.id, listing.file)


def _with_status(snapshot: Snapshot, status: str) -> tuple[Listing, ...]:
    return tuple(listing for listing in snapshot.listings if listing.status == status)


def _changed_fields(old: Listing, new: Listing) -> tuple[str, ...]:
    return tuple(name for name in METADATA if _comparable(old, name) != _comparable(new, name))


def _comparable(listing: Listing, name: str) -> Any:
    """Return the value of a field; only the keys of renderings, since their URLs change with every version."""
    return [item.key for item in listing.renderings] if name == "renderings" else getattr(listing, name)


def identity(listing: Listing) -> tuple[str, str, str]:
    """Return what names a listing over its versions: hub, id and file."""
    return listing.hub, listing.id, listing.file
