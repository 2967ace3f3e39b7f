"""Comparison of two snapshots of the catalog and the stage digests, and the Markdown report of a refresh."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from autolora.catalog import store as catalog
from autolora.catalog import takedowns
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.takedowns import Takedown, Takedowns
from autolora.records import Listing
from autolora.storage.files import write_atomic
from autolora.storage.hashes import canonical_json

BASELINE = "cache/refresh_baseline.json"
"""where the snapshot is stored that the next report of a refresh starts from"""
METADATA = (
    "license", "permissions", "nsfw", "nsfw_level", "person", "minor", "base_model", "trigger_words", "renderings",
    "id", "file",
)  # fmt: skip
"""the fields of a listing whose changes are reported"""
INACTIVE = ("withdrawn", "rejected")
"""statuses of listings that no crawl is expected to list"""
MAX_NAMED = 20
"""entries of one kind that a report names; the others are counted"""
MAX_REASON_LENGTH = 200
"""characters of a reason; a hub's answer can be pages long"""


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
        """Return the snapshot of a JSON form; that of an earlier AutoLoRA version has no takedowns."""
        return cls(
            tuple(Listing.from_row(row) for row in content["listings"]),
            content["digests"],
            tuple(Takedown.from_row(row) for row in content.get("takedowns", ())),
        )


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference of two snapshots, and the listings of the later one that need attention."""

    added: tuple[Listing, ...]
    """listings that became active"""
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
    """listings that wait for the daily budget, for a retry of their download, or for a scan of their hub"""
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


@dataclass(frozen=True, slots=True)
class FailedModel:
    """The failed items of one model in one stage: at least one, files first."""

    items: tuple[FailedItem, ...]

    @property
    def name(self) -> str:
        """The first file as `autolora show` accepts it; the model if only images failed."""
        first = self.items[0]
        return f"{first.hub}:{first.name if first.is_file else first.id}"

    @property
    def others(self) -> str:
        """The text that follows the name: the number of further files and of images; empty for a single file."""
        files = sum(item.is_file for item in self.items)
        images = len(self.items) - files
        counts = [counted(files - 1, "more file", "more files")] if files > 1 else []
        counts += [counted(images, "image", "images")] if images else []
        return "".join(f"{' and ' if files else ': '}{text}" for text in counts)

    @property
    def reason(self) -> str:
        """The reason of the first failure, or each image with the reason why it has no caption.

        Shortened to MAX_REASON_LENGTH.
        """
        first = self.items[0]
        reason = first.reason.removeprefix(f"hub {first.hub}: ")
        if first.stage == "captions":
            reason = " | ".join(f"{item.name}: {item.reason}" for item in self.items)
        return reason if len(reason) <= MAX_REASON_LENGTH else f"{reason[: MAX_REASON_LENGTH - 1]}…"

    @property
    def failure(self) -> str:
        """What failed, as a phrase."""
        return self.items[0].failure

    @property
    def retry_on(self) -> date:
        """The first day on which one of the items is tried again."""
        return min(item.retry_on for item in self.items)


def snapshot(root: Path) -> Snapshot:
    """Return the current catalog, digests and takedowns; a missing file counts as empty."""
    digests = {
        path.stem: json.loads(path.read_text())["sha256"]
        for path in sorted((root / "digests").glob("*.json"))
    }
    return Snapshot(tuple(catalog.read_all_or_empty(root)), digests, takedowns.read(root).rows)


def keep_baseline(root: Path) -> Snapshot:
    """Return the snapshot that the next report starts from: the stored one, or the current one, which is then stored.

    A takedown stores it before it changes the catalog, and a refresh before it crawls. A successful refresh removes it.
    """
    path = root / BASELINE
    if not path.exists():
        write_atomic(path, canonical_json(snapshot(root).to_json()))
    return Snapshot.from_json(json.loads(path.read_text()))


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
        added=tuple(sorted((new[key] for key in new.keys() - old.keys()), key=_identity)),
        removed=tuple(sorted((old[key] for key in old.keys() - new.keys()), key=_identity)),
        changed=tuple(sorted(changed, key=lambda pair: _identity(pair[0]))),
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


def newly_withdrawn(before: Iterable[Listing], after: Iterable[Listing]) -> tuple[Listing, ...]:
    """Return the tombstones of `after` that are not tombstones in `before`."""
    known = {_identity(listing) for listing in before if listing.status == "withdrawn"}
    return tuple(
        listing for listing in after if listing.status == "withdrawn" and _identity(listing) not in known
    )


def dropped_hubs(before: Iterable[Listing], hubs: Collection[str]) -> dict[str, int]:
    """Return hub -> number of its listings in `before`, for all hubs except `hubs`; INACTIVE ones do not count."""
    return dict(
        Counter(
            listing.hub for listing in before if listing.status not in INACTIVE and listing.hub not in hubs
        )
    )


def group_by_model(items: Iterable[FailedItem]) -> list[FailedModel]:
    """Return the failed items by stage and model: models with a failed file first, then those with failed images."""
    models: defaultdict[tuple[str, str, str], list[FailedItem]] = defaultdict(list)
    for item in sorted(items, key=lambda item: (not item.is_file, item.hub, item.id, item.name)):
        models[item.stage, item.hub, item.id].append(item)
    return [FailedModel(tuple(group)) for group in models.values()]


def to_markdown(changes: Changes, deferred: Sequence[FailedItem] = ()) -> str:
    """Return the report of a refresh as Markdown: all changes, and the deferred items."""
    if not (changes or deferred):
        return "Nothing changed: the catalog and all digests are the same as before."
    lines = [
        f"**{len(changes.added)} added, {len(changes.removed)} removed, "
        f"{len(changes.changed)} with changed metadata**",
        "",
    ]
    lines += [f"- added `{qualified_name(listing)}`" for listing in changes.added]
    lines += [f"- removed `{qualified_name(listing)}`" for listing in changes.removed]
    lines += [
        f"- hub {hub}: none of its {counted(number, 'listing', 'listings')} is left in the catalog"
        for hub, number in changes.dropped_hubs.items()
    ]
    lines += _takedown_lines(changes.taken_down)
    lines += _deferred_lines(deferred)
    lines += _status_lines(changes)
    lines += [f"- `{qualified_name(listing)}`: {', '.join(fields)}" for listing, fields in changes.changed]
    lines += ["", "| stage | digest |", "|---|---|"]
    lines += [
        f"| {stage} | {'changed' if moved else 'unchanged'} |" for stage, moved in changes.stages.items()
    ]
    return "\n".join(lines)


def qualified_name(listing: Listing) -> str:
    """Return the name of a listing as `autolora show` accepts it: hub:id/file."""
    return f"{listing.hub}:{listing.id}/{listing.file}"


def counted(number: int, singular: str, plural: str) -> str:
    """Return a number with its noun in the right form."""
    return f"{number} {singular if number == 1 else plural}"


def _deferred_lines(items: Iterable[FailedItem]) -> list[str]:
    """Return one line per stage and model with deferred items: name, reason and day of the next attempt."""
    models = group_by_model(items)
    lines = [
        f"- **deferred, {model.failure}: `{model.name}`{model.others}** ({model.reason}); "
        f"next attempt on {model.retry_on}"
        for model in models[:MAX_NAMED]
    ]
    more = len(models) - MAX_NAMED
    return [*lines, f"- deferred: {counted(more, 'more model', 'more models')}"] if more > 0 else lines


def _takedown_lines(rows: Sequence[Takedown]) -> list[str]:
    """Return one line per takedown, with its reason."""
    lines = [f"- taken down: `{_takedown_name(row)}` ({row.reason})" for row in rows[:MAX_NAMED]]
    more = len(rows) - MAX_NAMED
    return [*lines, f"- taken down: {more} more"] if more > 0 else lines


def _takedown_name(row: Takedown) -> str:
    """Return the file as `autolora show` accepts it, the URL of the image, or the sha256 if no listing shows it."""
    if not row.hub:
        return f"{row.kind} {row.sha256}"
    return f"{row.hub}:{row.id}/{row.file}" if row.kind == "weights" else row.file


def _status_lines(changes: Changes) -> list[str]:
    """Return the lines on withdrawn, missing, queued and stale listings."""
    kinds = {
        "withdrawn by its hub": changes.withdrawn,
        "missing from its hub's list, but still available": changes.missing,
        "queued for a later day": changes.queued,
    }
    lines = []
    for label, listings in kinds.items():
        lines += [f"- {label}: `{qualified_name(listing)}`" for listing in listings[:MAX_NAMED]]
        if len(listings) > MAX_NAMED:
            lines.append(f"- {label}: {len(listings) - MAX_NAMED} more")
    for hub in sorted({listing.hub for listing in changes.stale}):
        days = [
            listing.stale_since for listing in changes.stale if listing.hub == hub and listing.stale_since
        ]
        listings_text = counted(len(days), "listing", "listings")
        lines.append(
            f"- **stale: {listings_text} of {hub} retained from an earlier crawl since {min(days)}**"
        )
    return lines


def _with_status(snapshot: Snapshot, status: str) -> tuple[Listing, ...]:
    return tuple(listing for listing in snapshot.listings if listing.status == status)


def _changed_fields(old: Listing, new: Listing) -> tuple[str, ...]:
    return tuple(name for name in METADATA if _comparable(old, name) != _comparable(new, name))


def _comparable(listing: Listing, name: str) -> Any:
    """Return the value of a field; only the keys of renderings, since their URLs change with every version."""
    return [item.key for item in listing.renderings] if name == "renderings" else getattr(listing, name)


def _identity(listing: Listing) -> tuple[str, str, str]:
    return listing.hub, listing.id, listing.file
