"""The facts about one adapter in words: `autolora show`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autolora.catalog.diff import qualified_name
from autolora.catalog.failed_items import FailedItem
from autolora.catalog.failed_models import group_by_model
from autolora.encoder.tags import describe_tags
from autolora.index.caption_check import CaptionCheck
from autolora.lora.verdict import WARNINGS
from autolora.pool.drawings import Drawing
from autolora.records import Listing, Permissions
from autolora.show.lookup import AdapterRecord

WHAT_TO_DO = (
    "Look at the renderings: if they do not show what the LoRA was made for, the gallery shows another one, or the "
    "file was replaced; if they do, the encoder was trained on nothing similar, which a later dataset.train_until in "
    "params.yaml corrects. `autolora show ADAPTER --captions` compares each caption with the weights and with the "
    "other images"
)


def facts(record: AdapterRecord) -> dict[str, Any]:
    """Return what is known about an adapter: label -> value; labels without a value are left out."""
    primary, adapter = record.sources.primary, record.adapter
    sha256 = adapter.sha256 if adapter else primary.sha256 or ""
    values = {
        "adapter": qualified_name(primary),
        "path": str(record.own_file or ""),
        "verdict": describe_verdict(record),
        "inactive because": record.inactive_reason,
        "sha256": sha256,
    }
    if _has_metadata(primary):
        values |= _hub_facts(record)
    elif len(record.listings) > 1:
        values["sources"] = "\n".join(map(describe_listing, record.listings))
    values |= {
        "version": "" if primary.version == sha256 else primary.version,
        "last changed": primary.updated or "",
        "first seen": record.sources.first_seen.isoformat(),
        **({} if record.own_file else _training_facts(record, sha256)),
    }
    return {label: value for label, value in (values | _file_facts(record)).items() if value != ""}


def _training_facts(record: AdapterRecord, sha256: str) -> dict[str, Any]:
    """Return family and split, which decide nothing in a project for one's own files."""
    is_own = record.family and record.family == sha256
    return {
        "family": "named by its own sha256" if is_own else record.family or "",
        "split": describe_split(record),
    }


def describe_verdict(record: AdapterRecord) -> str:
    """Return the verdict on an adapter as a phrase."""
    if record.takedown:
        return f"none: taken down on {record.takedown.date} ({record.takedown.reason})"
    if not any(listing.is_active for listing in record.listings):
        return f"none: {describe_status(record.sources.primary)}"
    if record.adapter is None:
        return "none yet: the pool has not read the file; run `dvc repro pool`"
    if record.adapter.accepted:
        return "accepted"
    return f"refused ({record.adapter.verdict}): {record.adapter.reason}"


def describe_split(record: AdapterRecord) -> str:
    """Return the split of an adapter as a phrase, and whether the models can have seen it."""
    if record.split is None:
        return "none: not in the dataset"
    if record.is_locked:
        return record.split
    return f"{record.split}, by the hash of its family: newer than the training lock, so nothing is trained on it"


def describe_listing(listing: Listing) -> str:
    """Return the status and the metadata of one hub's listing as a phrase."""
    phrases = [f"{qualified_name(listing)}: {describe_status(listing)}"]
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
        "description": "\n".join(sources.description),
        "renderings": len(sources.renderings) or _describe_drawings(record.drawings),
        "missing images": _describe_missing(record.missing_images),
    }


def _describe_drawings(drawings: Mapping[Path, Drawing]) -> str | int:
    """Return what an adapter without renderings is known by: how many images it has drawn, and each with its prompt."""
    if not drawings:
        return 0
    title = f"none; {len(drawings)} drawn by this project with the base model:"
    return "\n".join([title, *(f"{path}: {drawing.prompt}" for path, drawing in drawings.items())])


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
        "tags (by the weights)": describe_tags(record.tags),
        f"captions{' (of its drawings)' if record.drawings else ''}": "\n".join(
            caption.text for caption in record.captions
        ),
        "captions and weights": _describe_check(record.caption_check),
    }


def _describe_check(check: CaptionCheck | None) -> str:
    """Return the verdict on captions and weights, and what to do if they disagree; empty without a check."""
    if check is None:
        return ""
    return check.verdict if check.is_searched else f"{check.verdict}. {WHAT_TO_DO}"
