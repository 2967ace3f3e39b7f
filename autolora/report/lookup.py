"""Everything we know about one adapter, found by its sha256 or its name on a hub, in words."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.captions.store import captions
from autolora.catalog import failed_downloads
from autolora.catalog.failed_downloads import Setback
from autolora.catalog.sources import Origins
from autolora.catalog.store import entries
from autolora.crawl.budget import GB, cost
from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from autolora.lora.verdict import WARNINGS
from autolora.params import BudgetParams, CrawlParams
from autolora.pool import store as pool
from autolora.records import Adapter, Caption, Listing, Permissions

SHORTEST_PREFIX = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One adapter: as its hubs list it, as we found it, and what was made of it."""

    entries: tuple[Listing, ...]
    """every entry of the file in the catalog; queued and withdrawn ones too"""
    adapter: Adapter | None
    """None while the pool has not looked at the file"""
    split: str | None
    """train, test, or None: the models have not seen it"""
    captions: tuple[Caption, ...]
    why: str
    """why it does not go down the road; empty where it does"""
    missing: tuple[Setback, ...]
    """pictures of its models that their hubs did not give"""

    @property
    def origins(self) -> Origins:
        """Where it is listed; where it was, if it is nowhere any more."""
        alive = tuple(row for row in self.entries if row.status != "withdrawn")
        return Origins(tuple(sorted(alive or self.entries, key=lambda row: row.first_seen)))

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        named = self.origins.named
        if not any(row.on_the_road for row in self.entries):
            return f"none: {stands(named)}"
        if self.adapter is None:
            return "not looked at yet: run `dvc repro pool`"
        if self.adapter.accepted:
            return "accepted"
        return f"refused ({self.adapter.verdict}): {self.adapter.reason}"


def lookup(root: Path, name: str, rules: CrawlParams) -> Known:
    """Find an adapter by the first digits of its sha256 (6 or more), or by a hub's name for it.

    Raises MissingArtifact when none or several match.
    """
    adapters = pool.adapters(root)
    files: defaultdict[str, list[Listing]] = defaultdict(list)
    listed = entries(root)
    for row in listed:
        files[_file(row, adapters)].append(row)
    matches = {
        file: rows for file, rows in files.items() if any(_matches(row, adapters, name) for row in rows)
    }
    if not matches:
        raise MissingArtifact(
            f"no adapter '{name}' in data/catalog.jsonl: "
            f"name a sha256 ({SHORTEST_PREFIX} digits or more) or a hub id (author/name)"
        )
    if len(matches) > 1:
        several = ", ".join(f"{row.hub}:{row.id}/{row.file}" for rows in matches.values() for row in rows)
        raise MissingArtifact(
            f"'{name}' is the name of several adapters: {several}; name one as this list does, or by its sha256"
        )
    (rows,) = matches.values()
    return _known(root, rows, adapters, _why(root, rows, listed, rules))


def facts(known: Known) -> dict[str, Any]:
    """Return what is known of an adapter, by what it is called; what there is nothing to say of is left out."""
    named, found = known.origins.named, known.adapter
    told = {"adapter": f"{named.hub}:{named.id}/{named.file}", "verdict": known.verdict, "why": known.why}
    told["sha256"] = found.sha256 if found else named.sha256 or ""
    if named.status != "withdrawn":
        told |= _described(known)
    elif len(known.entries) > 1:
        told["origins"] = "\n".join(map(says, known.entries))
    told |= {
        "version": named.version,
        "last changed": named.updated or "",
        "first seen": known.origins.first_seen.isoformat(),
        "split": known.split or "none: the models have not seen it",
    }
    return {name: value for name, value in (told | _read(known)).items() if value != ""}


def says(row: Listing) -> str:
    """Return in words what one hub says of a file."""
    said = [f"{row.hub}:{row.id}/{row.file}: {stands(row)}"]
    if row.status != "withdrawn":
        said += [
            f"license {row.license or 'unknown'} ({permits(row.permissions)})",
            f"base model {row.base_model or 'unknown'}",
            f"maturity: {maturity(row.nsfw_level, row.nsfw)}",
        ]
    return "; ".join(said)


def permits(permissions: Permissions) -> str:
    """Return permissions in words."""
    return ", ".join(
        (
            f"commercial use {_words(permissions.commercial, 'allowed', 'not allowed')}",
            f"derivatives {_words(permissions.derivatives, 'allowed', 'not allowed')}",
            f"naming the author {_words(permissions.credit, 'required', 'not required')}",
        )
    )


def stands(row: Listing) -> str:
    """Return in words how an entry stands."""
    words = {
        "listed": "listed",
        "queued": "queued",
        "missing": "missing from its hub's list, but still there",
        "withdrawn": f"withdrawn, noticed on {row.withdrawn}",
    }
    stale = f", its hub could not be asked since {row.stale_since}" if row.stale_since else ""
    return words[row.status] + stale


def maturity(level: str | None, nsfw: bool) -> str:
    """Return in words how mature it is: a level, and whether that is safe for work."""
    if level is None:
        return "not safe for work, no level said" if nsfw else "not said"
    return f"{level} ({'not safe' if nsfw else 'safe'} for work)"


def shows(flag: bool | None) -> str:
    """Return in words whether it shows somebody."""
    return _words(flag, "yes", "no")


def _words(value: bool | None, yes: str, no: str) -> str:
    return "not said" if value is None else yes if value else no


def _file(row: Listing, adapters: Mapping[str, Adapter]) -> str:
    """Return what a file is known by: the sha256 of what was downloaded, else as the hub tells."""
    adapter = adapters.get(row.key)
    return adapter.sha256 if adapter else row.key


def _matches(row: Listing, adapters: Mapping[str, Adapter], name: str) -> bool:
    short = {row.id, f"{row.id}/{row.file}"}
    names = short | {f"{row.hub}:{name}" for name in short}
    file = _file(row, adapters)
    return name in names or (len(name) >= SHORTEST_PREFIX and file.startswith(name.lower()))


def _described(known: Known) -> dict[str, Any]:
    """Return what the hubs say of an adapter that one of them has."""
    origins, listing = known.origins, known.origins.named
    return {
        "size": "" if listing.size is None else f"{listing.size:,} bytes",
        "origins": "\n".join(map(says, known.entries)),
        "license": listing.license or "unknown",
        "permissions": permits(origins.permissions),
        "base model (label)": listing.base_model or "unknown",
        "maturity": maturity(origins.nsfw_level, origins.nsfw),
        "shows a real person": shows(origins.person),
        "shows a minor": shows(origins.minor),
        "trigger words": ", ".join(listing.trigger_words) or "none",
        "renderings": len(origins.renderings),
        "pictures not had": _not_had(known.missing),
    }


def _not_had(pictures: Sequence[Setback]) -> str:
    """Return in words how many pictures were asked for in vain, and the first's day and reason; of none nothing."""
    if not pictures:
        return ""
    first = min(pictures, key=lambda one: (one.due, one.name))
    return f"{len(pictures)}, asked for again on {first.due} ({first.why})"


def _read(known: Known) -> dict[str, Any]:
    """Return what is in an accepted file, and what was made of it."""
    found = known.adapter
    if not found or not found.accepted:
        return {}
    return {
        "layout": found.layout,
        "slots": found.num_slots,
        "largest rank": found.rank_max,
        "norm of the update": f"{found.norm:.4g}",
        "stored as": found.dtype,
        "keys": f"{found.keys_used} of {found.keys_seen} used",
        "keys set aside": ", ".join(found.set_aside) or "nothing",
        "warnings": "\n".join(WARNINGS[code] for code in found.warnings) or "none",
        "captions": "\n".join(caption.text for caption in known.captions),
    }


def _why(root: Path, rows: list[Listing], listed: list[Listing], rules: CrawlParams) -> str:
    """Return in words why a file does not go down the road; listed: the whole catalog."""
    if any(row.on_the_road for row in rows):
        return ""
    queued = next((row for row in rows if row.status == "queued"), None)
    if queued is None:
        return (
            "its hub took it down, or has neither it nor a page of its own any more: it leaves pool, dataset and "
            "index, and comes back when it is listed again"
        )
    setback = failed_downloads.read(root).get(queued.key)
    if setback:
        return f"its hub did not give it on {setback.last} ({setback.why}); it is asked for again on {setback.due}"
    price = cost(queued, rules, {one.key for row in listed if row.on_the_road for one in row.renderings})
    takes = (
        f"it takes {price.size / GB:.4f} GB and {price.captions} captions; a night {_allows(rules.budget)}"
    )
    if not price.fits(rules.budget):
        return f"larger than any night's whole budget: {takes}. It waits until that is raised"
    return f"waits for a night's budget: {takes}. First come those seen first, of one day the most downloaded"


def _allows(budget: BudgetParams) -> str:
    """Return in words what a night may bring."""
    bounds = {"files": budget.files, "GB": budget.gb, "captions": budget.captions}
    told = ", ".join(f"{bound} {noun}" for noun, bound in bounds.items() if bound is not None)
    return (
        f"may bring {told} (crawl.budget in params.yaml)" if told else "has no bounds, so the next brings it"
    )


def _known(root: Path, rows: list[Listing], adapters: Mapping[str, Adapter], why: str) -> Known:
    """Return what the pool, the captions and the training lock know of a file; the lock also of one that is gone."""
    pooled = pool.renderings(root)
    adapter = next((adapters[row.key] for row in rows if row.key in adapters), None)
    sha256 = adapter.sha256 if adapter else next((row.sha256 for row in rows if row.sha256), None)
    images = {pooled[item.key].sha256 for row in rows for item in row.renderings if item.key in pooled}
    splits = {row.sha256: row.split for row in dataset.training(root).rows}
    return Known(
        entries=tuple(rows),
        adapter=adapter,
        split=splits.get(sha256) if sha256 else None,
        captions=tuple(caption for caption in captions(root) if caption.image in images),
        why=why,
        missing=_missing_pictures(root, rows),
    )


def _missing_pictures(root: Path, rows: Iterable[Listing]) -> tuple[Setback, ...]:
    """Return what is not had of the models of some entries and is no file, which would be named by its model."""
    models = {(row.hub, row.id) for row in rows}
    noted = (one for one in failed_downloads.read(root).values() if (one.hub, one.id) in models)
    return tuple(one for one in noted if not one.is_file)
