"""Everything that is known about one adapter, found by its sha256 or its name on a hub: `autolora show`."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolora.captions.store import read_captions
from autolora.catalog import failed_items, takedowns
from autolora.catalog.diff import group_by_model
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.sources import Sources
from autolora.catalog.store import read_all
from autolora.catalog.takedowns import Takedown
from autolora.crawl.budget import GB, cost
from autolora.dataset import store as dataset
from autolora.errors import MissingArtifact
from autolora.index import store as index
from autolora.index.caption_check import CaptionCheck, read_caption_checks
from autolora.index.names import EXPECTED, AdapterNames
from autolora.lora.verdict import WARNINGS
from autolora.params import BudgetParams, CrawlParams
from autolora.pool import store as pool
from autolora.records import Adapter, Caption, Listing, Permissions
from autolora.storage.files import Row

TAKEN_DOWN = (
    "it was taken down here (data/takedowns.jsonl): its content is erased, no crawl admits it again, and nothing is "
    "trained on it"
)
WHAT_TO_DO = (
    "Look at the renderings: if they do not show what the LoRA was made for, the gallery shows another one, or the "
    "file was replaced; if they do, the encoder was trained on nothing similar, which a later dataset.train_until in "
    "params.yaml corrects. `autolora show ADAPTER --captions` compares each caption with the weights and with the "
    "other images"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterRecord:
    """One adapter: its listings on the hubs, the result of reading its file, and what later stages made of it."""

    listings: tuple[Listing, ...]
    """every listing of the file in the catalog, queued and withdrawn ones included"""
    adapter: Adapter | None
    """None if the pool has not read the file yet"""
    split: str | None
    """train, validation, test, or None: not in the training set"""
    captions: tuple[Caption, ...]
    caption_check: CaptionCheck | None
    """None if the working index holds no captions of the adapter"""
    inactive_reason: str
    """why no listing of the file is active; empty if one is"""
    missing_images: tuple[FailedItem, ...]
    """images of its models whose download or caption failed"""
    takedown: Takedown | None
    """why and when the file was taken down here; None if it was not"""

    @property
    def sources(self) -> Sources:
        """Return the listings that are not withdrawn, or all of them if all are withdrawn; the earliest first."""
        remaining = tuple(listing for listing in self.listings if listing.status != "withdrawn")
        return Sources(tuple(sorted(remaining or self.listings, key=lambda listing: listing.first_seen)))

    @property
    def verdict(self) -> str:
        """Return the verdict as a phrase."""
        if self.takedown:
            return f"none: taken down on {self.takedown.date} ({self.takedown.reason})"
        if not any(listing.is_active for listing in self.listings):
            return f"none: {describe_status(self.sources.primary)}"
        if self.adapter is None:
            return "none yet: the pool has not read the file; run `dvc repro pool`"
        if self.adapter.accepted:
            return "accepted"
        return f"refused ({self.adapter.verdict}): {self.adapter.reason}"


def lookup(root: Path, name: str, rules: CrawlParams) -> AdapterRecord:
    """Find an adapter by its name on a hub or the first digits of its sha256 (6 or more).

    Raises MissingArtifact when no adapter or several adapters match.
    """
    adapters = pool.adapters(root)
    catalog = read_all(root)
    adapter_names = AdapterNames([_naming_fields(listing, adapters) for listing in catalog])
    files: defaultdict[str, list[Listing]] = defaultdict(list)
    for listing in catalog:
        files[_file_key(listing, adapters)].append(listing)
    named = dict.fromkeys(_file_key(catalog[position], adapters) for position in adapter_names.find_all(name))
    matches = {file: files[file] for file in named}
    if not matches:
        raise MissingArtifact(f"no adapter '{name}' in data/catalog.jsonl: name {EXPECTED}, e.g. author/name")
    if len(matches) > 1:
        names = ", ".join(f"{item.hub}:{item.id}/{item.file}" for found in matches.values() for item in found)
        raise MissingArtifact(
            f"'{name}' matches several adapters: {names}; use one of these full names, or a sha256"
        )
    (listings,) = matches.values()
    takedown = next(filter(None, map(takedowns.read(root).of_listing, listings)), None)
    reason = TAKEN_DOWN if takedown else _inactive_reason(root, listings, catalog, rules)
    return _record(root, listings, adapters, reason, takedown)


def facts(record: AdapterRecord) -> dict[str, Any]:
    """Return what is known about an adapter: label -> value; labels without a value are left out."""
    primary, adapter = record.sources.primary, record.adapter
    values = {
        "adapter": f"{primary.hub}:{primary.id}/{primary.file}",
        "verdict": record.verdict,
        "inactive because": record.inactive_reason,
        "sha256": adapter.sha256 if adapter else primary.sha256 or "",
    }
    if _has_metadata(primary):
        values |= _hub_facts(record)
    elif len(record.listings) > 1:
        values["sources"] = "\n".join(map(describe_listing, record.listings))
    values |= {
        "version": primary.version,
        "last changed": primary.updated or "",
        "first seen": record.sources.first_seen.isoformat(),
        "split": record.split or "none: not in the training set",
    }
    return {label: value for label, value in (values | _file_facts(record)).items() if value != ""}


def describe_listing(listing: Listing) -> str:
    """Return the status and the metadata of one hub's listing as a phrase."""
    phrases = [f"{listing.hub}:{listing.id}/{listing.file}: {describe_status(listing)}"]
    if _has_metadata(listing):
        phrases += [
            f"license {listing.license or 'unknown'} ({describe_permissions(listing.permissions)})",
            f"base model {listing.base_model or 'unknown'}",
            f"maturity: {describe_maturity(listing.nsfw_level, listing.nsfw)}",
        ]
    return "; ".join(phrases)


def _has_metadata(listing: Listing) -> bool:
    """Return whether a listing has its hub's metadata; tombstones of earlier AutoLoRA versions have none, nor a URL."""
    return bool(listing.url)


def describe_permissions(permissions: Permissions) -> str:
    """Return permissions as a phrase."""
    return ", ".join(
        (
            f"commercial use {_describe_flag(permissions.commercial, 'allowed', 'not allowed')}",
            f"derivatives {_describe_flag(permissions.derivatives, 'allowed', 'not allowed')}",
            f"attribution {_describe_flag(permissions.credit, 'required', 'not required')}",
        )
    )


def describe_status(listing: Listing) -> str:
    """Return the status of a listing as a phrase."""
    phrases = {
        "listed": "listed",
        "queued": "queued",
        "missing": "missing from the hub's list, but its page still exists",
        "withdrawn": f"withdrawn, noticed on {listing.withdrawn}",
        "rejected": "rejected by a rule in the section crawl of params.yaml",
    }
    since = listing.stale_since
    return phrases[listing.status] + (f", retained from an earlier crawl since {since}" if since else "")


def describe_maturity(level: str | None, nsfw: bool) -> str:
    """Return the maturity level as a phrase, and whether it is safe for work."""
    if level is None:
        return "not safe for work, level not reported" if nsfw else "not reported"
    return f"{level} ({'not safe' if nsfw else 'safe'} for work)"


def _describe_flag(value: bool | None, yes: str, no: str) -> str:
    return "not reported" if value is None else yes if value else no


def _file_key(listing: Listing, adapters: Mapping[str, Adapter]) -> str:
    """Return the identity of a listed file: the sha256 of the downloaded bytes, else the listing's own key."""
    adapter = adapters.get(listing.key)
    return adapter.sha256 if adapter else listing.key


def _naming_fields(listing: Listing, adapters: Mapping[str, Adapter]) -> Row:
    """Return the fields by which `AdapterNames` finds a listing; an unknown sha256 is empty."""
    adapter = adapters.get(listing.key)
    sha256 = adapter.sha256 if adapter else listing.sha256 or ""
    return {"sha256": sha256, "hub": listing.hub, "id": listing.id, "file": listing.file}


def _hub_facts(record: AdapterRecord) -> dict[str, Any]:
    """Return the metadata that the hubs report, or reported before the withdrawal."""
    sources, primary = record.sources, record.sources.primary
    return {
        "size": "" if primary.size is None else f"{primary.size:,} bytes",
        "sources": "\n".join(map(describe_listing, record.listings)),
        "license": primary.license or "unknown",
        "permissions": describe_permissions(sources.permissions),
        "base model (label)": primary.base_model or "unknown",
        "maturity": describe_maturity(sources.nsfw_level, sources.nsfw),
        "shows a real person": _describe_flag(sources.person, "yes", "no"),
        "shows a minor": _describe_flag(sources.minor, "yes", "no"),
        "trigger words": ", ".join(primary.trigger_words) or "none",
        "renderings": len(sources.renderings),
        "missing images": _describe_missing(record.missing_images),
    }


def _describe_missing(images: Sequence[FailedItem]) -> str:
    """Return per stage the number of failed images, the reason and the day of the next attempt; empty if none."""
    return "\n".join(
        f"{len(model.items)}, {model.failure} ({model.reason}); next attempt on {model.retry_on}"
        for model in group_by_model(images)
    )


def _file_facts(record: AdapterRecord) -> dict[str, Any]:
    """Return the content of an accepted file and its captions; empty without one."""
    adapter = record.adapter
    if not adapter or not adapter.accepted:
        return {}
    return {
        "layout": adapter.layout,
        "slots": adapter.num_slots,
        "largest rank": adapter.rank_max,
        "update norm (Frobenius, estimated)": f"{adapter.norm:.3g}",
        "stored as": adapter.dtype,
        "keys": f"{adapter.keys_used} of {adapter.keys_seen} used",
        "ignored keys": ", ".join(adapter.ignored_keys) or "none",
        "warnings": "\n".join(WARNINGS[code] for code in adapter.warnings) or "none",
        "captions": "\n".join(caption.text for caption in record.captions),
        "captions and weights": _describe_check(record.caption_check),
    }


def _describe_check(check: CaptionCheck | None) -> str:
    """Return the verdict on captions and weights, and what to do if they disagree; empty without a check."""
    if check is None:
        return ""
    return check.verdict if check.agrees else f"{check.verdict}. {WHAT_TO_DO}"


def _inactive_reason(
    root: Path, listings: Sequence[Listing], catalog: Sequence[Listing], rules: CrawlParams
) -> str:
    """Return why no listing of a file is active; empty if one is. catalog: all listings."""
    if any(listing.is_active for listing in listings):
        return ""
    queued = next((listing for listing in listings if listing.status == "queued"), None)
    if queued is None:
        return (
            "the hub lists neither the file nor a page for it any more, or took it down; no search returns it and "
            "nothing is trained on it until a hub lists it again. Its metadata and completed downloads are kept"
        )
    failed = failed_items.read(root).get(queued.key)
    if failed and failed.reason == failed_items.NOT_REQUESTED:
        return f"{failed.reason}; next attempt on {failed.retry_on}"
    if failed:
        return f"the download failed on {failed.last_attempt} ({failed.reason}); next attempt on {failed.retry_on}"
    if queued.stale_since is not None:
        return f"its hub could not be scanned since {queued.stale_since}; it is admitted after the next complete scan"
    pooled_images = {image.key for listing in catalog if listing.is_active for image in listing.renderings}
    price = cost(queued, rules, pooled_images)
    needs = (
        f"it needs {price.size / GB:.4f} GB and {price.captions} captions; {_describe_budget(rules.budget)}"
    )
    if not price.fits(rules.budget):
        return f"it exceeds the whole daily budget: {needs}. It stays queued until the budget is raised"
    return f"it waits for the daily budget: {needs}. Queued files are admitted by first day seen, then by downloads"


def _describe_budget(budget: BudgetParams) -> str:
    """Return the daily budget as a phrase."""
    limits = {"files": budget.files, "GB": budget.gb, "captions": budget.captions}
    phrase = ", ".join(f"{limit} {unit}" for unit, limit in limits.items() if limit is not None)
    if not phrase:
        return "the daily budget is unlimited, so the next refresh admits it"
    return f"the daily budget is {phrase} (crawl.budget in params.yaml)"


def _record(
    root: Path,
    listings: Sequence[Listing],
    adapters: Mapping[str, Adapter],
    inactive_reason: str,
    takedown: Takedown | None,
) -> AdapterRecord:
    """Return what pool, captions and training lock hold about a file; the lock may hold a withdrawn one too."""
    pooled = pool.renderings(root)
    adapter = next((adapters[listing.key] for listing in listings if listing.key in adapters), None)
    reported = next((listing.sha256 for listing in listings if listing.sha256), None)
    sha256 = adapter.sha256 if adapter else reported
    renderings = {rendering.key for listing in listings for rendering in listing.renderings}
    images = {pooled[key].sha256 for key in renderings if key in pooled}
    splits = {row.sha256: row.split for row in dataset.training_lock(root).rows}
    return AdapterRecord(
        listings=tuple(listings),
        adapter=adapter,
        split=splits.get(sha256) if sha256 else None,
        captions=tuple(caption for caption in read_captions(root) if caption.image in images),
        caption_check=read_caption_checks(index.folder(root)).get(sha256) if sha256 else None,
        inactive_reason=inactive_reason,
        missing_images=_missing_images(root, listings),
        takedown=takedown,
    )


def _missing_images(root: Path, listings: Iterable[Listing]) -> tuple[FailedItem, ...]:
    """Return the failed images of the models that some listings belong to."""
    models = {(listing.hub, listing.id) for listing in listings}
    failed = failed_items.read(root).values()
    return tuple(item for item in failed if (item.hub, item.id) in models and not item.is_file)
