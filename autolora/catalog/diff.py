"""What a night changed: two snapshots of catalog and digests, compared."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from autolora.catalog import store as catalog
from autolora.catalog.failed_downloads import Setback
from autolora.records import Listing

DESCRIPTIONS = (
    "license", "permissions", "nsfw", "nsfw_level", "person", "minor", "base_model", "trigger_words", "renderings",
    "id", "file",
)  # fmt: skip
NAMED = 20
"""entries of one kind that a night names; of more it says how many"""
LONGEST_WHY = 200
"""characters of a reason; a hub's answer can be pages"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The committed face of a pool at one moment."""

    entries: tuple[Listing, ...]
    """every line of the catalog"""
    digests: dict[str, str]
    """stage -> sha256"""

    @property
    def listings(self) -> dict[str, Listing]:
        """What goes down the road by Listing.key; of a file with several origins, the first."""
        return {row.key: row for row in reversed(self.entries) if row.on_the_road}

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"listings": [row.to_row() for row in self.entries], "digests": self.digests}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Read the JSON form back."""
        return cls(tuple(Listing.from_row(row) for row in content["listings"]), content["digests"])


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference of two snapshots, and what waits."""

    added: tuple[Listing, ...]
    removed: tuple[Listing, ...]
    described: tuple[tuple[Listing, tuple[str, ...]], ...]
    """listings whose description changed, with the names of the changed fields"""
    stages: dict[str, bool]
    """stage -> whether its digest changed"""
    tombstones: tuple[Listing, ...]
    """entries that their hubs have withdrawn since"""
    queued: tuple[Listing, ...]
    """entries that wait for a night's budget"""
    stale: tuple[Listing, ...]
    """entries whose hubs could not be asked about them"""
    missing: tuple[Listing, ...]
    """entries that their hubs do not list any more, but still hold"""
    left: Mapping[str, int]
    """hub of which no entry is left -> how many it had"""

    def __bool__(self) -> bool:
        moved = any(self.stages.values()) or self.added or self.removed or self.described or self.tombstones
        return bool(moved or self.queued or self.stale or self.missing or self.left)


@dataclass(frozen=True, slots=True)
class Lack:
    """What one model's hub lists and did not give: one file or picture at least, files first."""

    parts: tuple[Setback, ...]

    @property
    def name(self) -> str:
        """The first file as `autolora show` takes it; of pictures the model."""
        first = self.parts[0]
        return f"{first.hub}:{first.name if first.is_file else first.id}"

    @property
    def others(self) -> str:
        """What follows the name where more than one file is missing, in words."""
        files = sum(one.is_file for one in self.parts)
        pictures = len(self.parts) - files
        more = [count(files - 1, "more file", "more files")] if files > 1 else []
        more += [count(pictures, "picture", "pictures")] if pictures else []
        return "".join(f"{' and ' if files else ': '}{words}" for words in more)

    @property
    def why(self) -> str:
        """Why the first was not had, in short."""
        first = self.parts[0]
        why = first.why.removeprefix(f"hub {first.hub}: ")
        return why if len(why) <= LONGEST_WHY else f"{why[: LONGEST_WHY - 1]}…"

    @property
    def due(self) -> date:
        """The first day on which something of it is asked for again."""
        return min(one.due for one in self.parts)


def snapshot(root: Path) -> Snapshot:
    """Read catalog and digests as they are now; what is missing counts as empty."""
    digests = {
        path.stem: json.loads(path.read_text())["sha256"]
        for path in sorted((root / "digests").glob("*.json"))
    }
    return Snapshot(tuple(catalog.known(root)), digests)


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
        tombstones=withdrawn(before.entries, after.entries),
        queued=_of(after, "queued"),
        stale=tuple(row for row in after.entries if row.stale_since),
        missing=_of(after, "missing"),
        left=left(before.entries, {row.hub for row in after.entries if row.status != "withdrawn"}),
    )


def withdrawn(before: Iterable[Listing], after: Iterable[Listing]) -> tuple[Listing, ...]:
    """Return the entries that have become tombstones."""
    known = {_order(row) for row in before if row.status == "withdrawn"}
    return tuple(row for row in after if row.status == "withdrawn" and _order(row) not in known)


def left(before: Iterable[Listing], hubs: Collection[str]) -> dict[str, int]:
    """Return hub -> how many entries leave with it, for all but these hubs; tombstones stay."""
    return dict(Counter(row.hub for row in before if row.status != "withdrawn" and row.hub not in hubs))


def lacks(setbacks: Iterable[Setback]) -> list[Lack]:
    """Return what was not had by model: those that lack a file first, then those that lack pictures."""
    models: defaultdict[tuple[str, str], list[Setback]] = defaultdict(list)
    for one in sorted(setbacks, key=lambda one: (not one.is_file, one.hub, one.id, one.name)):
        models[one.hub, one.id].append(one)
    return [Lack(tuple(parts)) for parts in models.values()]


def to_markdown(changes: Changes, set_aside: Sequence[Setback] = ()) -> str:
    """Say in Markdown what changed, and what the hubs did not give, for the person who reads it in the morning."""
    if not (changes or set_aside):
        return "Nothing changed: same catalog, same digests."
    lines = [
        f"**{len(changes.added)} added, {len(changes.removed)} withdrawn, {len(changes.described)} described anew**",
        "",
    ]
    lines += [f"- added `{name(listing)}`" for listing in changes.added]
    lines += [f"- withdrawn `{name(listing)}`" for listing in changes.removed]
    lines += [
        f"- hub {hub}: nothing is left in the catalog of its {count(number, 'entry', 'entries')}"
        for hub, number in changes.left.items()
    ]
    lines += _set_aside(set_aside)
    lines += _waiting(changes)
    lines += [f"- `{name(listing)}`: {', '.join(fields)}" for listing, fields in changes.described]
    lines += ["", "| stage | digest |", "|---|---|"]
    lines += [
        f"| {stage} | {'changed' if moved else 'as before'} |" for stage, moved in changes.stages.items()
    ]
    return "\n".join(lines)


def name(listing: Listing) -> str:
    """Return an entry's name as `autolora show` takes it."""
    return f"{listing.hub}:{listing.id}/{listing.file}"


def count(number: int, one: str, more: str) -> str:
    """Return a number with its noun."""
    return f"{number} {one if number == 1 else more}"


def _set_aside(setbacks: Iterable[Setback]) -> list[str]:
    """Say what was listed and could not be had, why, and when it is asked for again; a model a line."""
    models = lacks(setbacks)
    lines = [
        f"- **set aside: `{model.name}`{model.others}** ({model.why}); asked for again on {model.due}"
        for model in models[:NAMED]
    ]
    more = len(models) - NAMED
    return [*lines, f"- set aside: {count(more, 'more model', 'more models')}"] if more > 0 else lines


def _waiting(changes: Changes) -> list[str]:
    """Say what the hubs withdrew, and what does not go the way it should."""
    kinds = {
        "taken down by its hub": changes.tombstones,
        "not listed by its hub any more, but there": changes.missing,
        "queued for a later night": changes.queued,
    }
    lines = []
    for words, rows in kinds.items():
        lines += [f"- {words}: `{name(row)}`" for row in rows[:NAMED]]
        if len(rows) > NAMED:
            lines.append(f"- {words}: {len(rows) - NAMED} more")
    for hub in sorted({row.hub for row in changes.stale}):
        days = [row.stale_since for row in changes.stale if row.hub == hub and row.stale_since]
        entries = count(len(days), "entry", "entries")
        lines.append(f"- **stale: {entries} of {hub} could not be asked about, since {min(days)}**")
    return lines


def _of(snapshot: Snapshot, status: str) -> tuple[Listing, ...]:
    return tuple(row for row in snapshot.entries if row.status == status)


def _changed_fields(old: Listing, new: Listing) -> tuple[str, ...]:
    return tuple(name for name in DESCRIPTIONS if _described_as(old, name) != _described_as(new, name))


def _described_as(listing: Listing, name: str) -> Any:
    """Return a field's value; of renderings only which they are: their URLs move with every version."""
    return [item.key for item in listing.renderings] if name == "renderings" else getattr(listing, name)


def _order(listing: Listing) -> tuple[str, str, str]:
    return listing.hub, listing.id, listing.file
