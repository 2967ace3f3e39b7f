"""What a night changed: two snapshots of catalog and digests, compared."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from autolora.crawl import catalog
from autolora.records import Listing

DESCRIPTIONS = ("licence", "nsfw", "base_model", "trigger_words", "renderings", "id", "file")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The committed face of a pool at one moment."""

    listings: dict[str, Listing]
    """by Listing.key"""
    digests: dict[str, str]
    """stage -> sha256"""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"listings": [listing.to_row() for listing in self.listings.values()], "digests": self.digests}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Read the JSON form back."""
        listings = [Listing.from_row(row) for row in content["listings"]]
        return cls({listing.key: listing for listing in listings}, content["digests"])


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference of two snapshots."""

    added: tuple[Listing, ...]
    removed: tuple[Listing, ...]
    described: tuple[tuple[Listing, tuple[str, ...]], ...]
    """listings whose description changed, with the names of the changed fields"""
    stages: dict[str, bool]
    """stage -> whether its digest changed"""

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.described or any(self.stages.values()))


def snapshot(root: Path) -> Snapshot:
    """Read catalog and digests as they are now; what is missing counts as empty."""
    listings = catalog(root) if (root / "data" / "catalog.jsonl").exists() else []
    digests = {
        path.stem: json.loads(path.read_text())["sha256"]
        for path in sorted((root / "digests").glob("*.json"))
    }
    return Snapshot({listing.key: listing for listing in listings}, digests)


def compare(before: Snapshot, after: Snapshot) -> Changes:
    """Return what separates `after` from `before`."""
    old, new = before.listings, after.listings
    described = [
        (new[key], fields)
        for key in new.keys() & old.keys()
        if (fields := _changed_fields(old[key], new[key]))
    ]
    stages = sorted(before.digests.keys() | after.digests.keys())
    return Changes(
        added=tuple(sorted((new[key] for key in new.keys() - old.keys()), key=_order)),
        removed=tuple(sorted((old[key] for key in old.keys() - new.keys()), key=_order)),
        described=tuple(sorted(described, key=lambda pair: _order(pair[0]))),
        stages={stage: before.digests.get(stage) != after.digests.get(stage) for stage in stages},
    )


def to_markdown(changes: Changes) -> str:
    """Say in Markdown what changed, for the person who reads it in the morning."""
    if not changes:
        return "Nothing changed: same catalog, same digests."
    lines = [
        f"**{len(changes.added)} added, {len(changes.removed)} withdrawn, {len(changes.described)} described anew**",
        "",
    ]
    lines += [f"- added `{_name(listing)}`" for listing in changes.added]
    lines += [f"- withdrawn `{_name(listing)}`" for listing in changes.removed]
    lines += [f"- `{_name(listing)}`: {', '.join(fields)}" for listing, fields in changes.described]
    lines += ["", "| stage | digest |", "|---|---|"]
    lines += [
        f"| {stage} | {'changed' if moved else 'as before'} |" for stage, moved in changes.stages.items()
    ]
    return "\n".join(lines)


def _changed_fields(old: Listing, new: Listing) -> tuple[str, ...]:
    return tuple(name for name in DESCRIPTIONS if _described_as(old, name) != _described_as(new, name))


def _described_as(listing: Listing, name: str) -> Any:
    """Return a field's value; of renderings only which they are: their URLs move with every version."""
    return [item.key for item in listing.renderings] if name == "renderings" else getattr(listing, name)


def _order(listing: Listing) -> tuple[str, str, str]:
    return listing.hub, listing.id, listing.file


def _name(listing: Listing) -> str:
    return f"{listing.hub}:{listing.id}/{listing.file}"
