"""All that is known about one adapter as JSON values under stable keys: `autolora show --json`.

Unlike the phrases of autolora/show/facts.py, values keep their kinds: flags are true, false or null, numbers are
numbers, dates are YYYY-MM-DD. Every key is always present; what is unknown is null, or an empty list.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from autolora.catalog.diff import qualified_name
from autolora.catalog.failed_items import FailedItem
from autolora.index.caption_check import CaptionCheck
from autolora.records import Adapter, Listing
from autolora.show.lookup import AdapterRecord

FILE_FIELDS = (
    "layout", "num_slots", "rank_max", "norm", "dtype", "keys_used", "keys_seen", "ignored_keys", "warnings",
)  # fmt: skip
"""fields of an adapter that state the content of its file"""


def record_json(record: AdapterRecord) -> dict[str, Any]:
    """Return an adapter as JSON values."""
    sources, primary, adapter = record.sources, record.sources.primary, record.adapter
    return {
        "name": qualified_name(primary),
        "hub": primary.hub,
        "id": primary.id,
        "file": primary.file,
        "url": primary.url or None,
        "sha256": adapter.sha256 if adapter else primary.sha256,
        "size": primary.size,
        "version": primary.version,
        "updated": primary.updated,
        "first_seen": sources.first_seen.isoformat(),
        "active": not record.inactive_reason,
        "inactive_reason": record.inactive_reason or None,
        "takedown": record.takedown.to_row() if record.takedown else None,
        "verdict": adapter.verdict if adapter else None,
        "verdict_reason": (adapter.reason or None) if adapter else None,
        "license": primary.license,
        "permissions": asdict(sources.permissions),
        "base_model": primary.base_model,
        "base": primary.base,
        "nsfw": sources.nsfw,
        "nsfw_level": sources.nsfw_level,
        "person": sources.person,
        "minor": sources.minor,
        "trigger_words": list(primary.trigger_words),
        "description": list(sources.description),
        "renderings": [rendering.url for rendering in sources.renderings],
        "drawings": [
            {"image": drawing.image, "path": str(path), "prompt": drawing.prompt, "seed": drawing.seed}
            for path, drawing in record.drawings.items()
        ],
        "missing_images": [_missing_image(item) for item in record.missing_images],
        "sources": [_source(listing) for listing in record.listings],
        "family": record.family,
        "split": record.split,
        "in_training_lock": record.is_locked,
        "captions": [
            {"image": caption.image, "length": caption.length, "text": caption.text}
            for caption in record.captions
        ],
        "caption_check": _caption_check(record.caption_check),
        "tags": [asdict(tag) for tag in record.tags],
        **_content(adapter),
    }


def _content(adapter: Adapter | None) -> Mapping[str, Any]:
    """Return the content of an accepted file; nulls without one."""
    if adapter is None or not adapter.accepted:
        return dict.fromkeys(FILE_FIELDS)
    row = asdict(adapter)
    return {name: list(row[name]) if isinstance(row[name], tuple) else row[name] for name in FILE_FIELDS}


def _source(listing: Listing) -> dict[str, Any]:
    """Return one hub's listing of the file."""
    row = listing.to_row()
    del row["renderings"]
    row.pop("deferred_renderings", None)
    return {"name": qualified_name(listing)} | row


def _missing_image(item: FailedItem) -> dict[str, Any]:
    return {
        "url": item.name,
        "stage": item.stage,
        "reason": item.reason,
        "retry_on": item.retry_on.isoformat(),
    }


def _caption_check(check: CaptionCheck | None) -> dict[str, Any] | None:
    if check is None:
        return None
    return {"agreement": check.agreement, "expected": check.expected, "agrees": check.agrees}
