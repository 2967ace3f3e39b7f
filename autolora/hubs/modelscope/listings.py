"""Parsing of ModelScope's entries: models in lists, model pages and files."""

import datetime
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from autolora.hubs import Model
from autolora.hubs.huggingface.card import BASE_TAG, NSFW_TAG
from autolora.hubs.labels import is_nsfw, normalize_base, permissions_of
from autolora.hubs.validation import (
    as_list,
    clean_text,
    clean_texts,
    format_time,
    is_repo_id,
    is_restricted,
    parse_time,
    short_repr,
    tag_value,
    valid_count,
    valid_sha256,
)
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing

NSFW_TAGS = frozenset({NSFW_TAG, "nsfw"})
BRANCH = "master"
REVISION = re.compile(r"[0-9a-f]{40}")
RESTRICTED_VISIBILITIES = (1, 3)
"""values of Visibility: private, internal"""
GATED_MODE = 1
"""value of ProtectedMode"""

FileEntry = Mapping[str, Any]
"""one file or folder of a model, as the hub returns it"""


def parse_model(item: Any, hub: str, endpoint_url: str, today: datetime.date) -> Model:
    """Return the model of one list entry; its partial listing has no file, since lists name no files.

    Raises ValueError if the id, the date or one of the access fields is not valid.
    """
    if not isinstance(item, Mapping) or not is_repo_id(item.get("id")):
        raise ValueError(f"an entry has no valid id: {short_repr(item)}")
    updated = parse_time(item.get("last_modified"))
    if updated is None:
        raise ValueError(f"{item['id']} has no valid last_modified date")
    listing = _partial_listing(item, hub, endpoint_url, format_time(updated), today)
    restricted = is_access_restricted(item)
    return Model(
        id=listing.id,
        version=listing.version,
        updated=updated,
        partial_listings=() if restricted else (listing,),
        withdrawn=restricted,
    )


def is_access_restricted(item: Mapping[str, Any]) -> bool:
    """Return whether a model's files require a permission, according to a list entry or the model's own page.

    Raises ValueError if one of the fields is not valid.
    """
    restricted = item.get("Visibility") in RESTRICTED_VISIBILITIES or item.get("ProtectedMode") == GATED_MODE
    return is_restricted(item, "private", "gated") or restricted


def add_details(listing: Listing, details: Mapping[str, Any]) -> Listing:
    """Return the listing with the fields that only the model's own page contains."""
    base_model = next(iter(clean_texts(details.get("BaseModel"))), listing.base_model)
    license = listing.license or clean_text(details.get("License"))
    return replace(
        listing,
        base_model=base_model,
        base=normalize_base(base_model),
        license=license,
        permissions=permissions_of(license),
    )


def file_listing(listing: Listing, endpoint_url: str, path: str, entry: FileEntry) -> Listing:
    """Return the listing of one file of a model. listing: the model's listing without a file."""
    size, sha256 = valid_count(entry.get("Size")), valid_sha256(entry.get("Sha256"))
    url = _file_url(endpoint_url, listing.id, path, entry)
    return replace(listing, file=path, url=url, size=size, sha256=sha256)


def image_rendering(listing: Listing, endpoint_url: str, path: str, entry: FileEntry) -> ListedRendering:
    """Return an image of a model as a rendering with the model's content rating."""
    url, sha256 = _file_url(endpoint_url, listing.id, path, entry), valid_sha256(entry.get("Sha256"))
    return ListedRendering(url=url, sha256=sha256, prompt=None, nsfw_level=listing.nsfw_level)


def refresh_listing(known: Listing, listing: Listing, rules: CrawlParams) -> Listing:
    """Return a known listing with today's fields of the list entry. Both have the same version."""
    return replace(
        listing,
        file=known.file,
        url=known.url,
        size=known.size,
        sha256=known.sha256,
        base_model=known.base_model,
        base=known.base,
        license=listing.license or known.license,
        permissions=listing.permissions if listing.license else known.permissions,
        renderings=known.renderings[: rules.max_renderings],
    )


def _partial_listing(
    item: Mapping[str, Any], hub: str, endpoint_url: str, version: str, today: datetime.date
) -> Listing:
    license, tags = clean_text(item.get("license")), as_list(item.get("tags"))
    base_model = tag_value(tags, BASE_TAG)
    level = "mature" if NSFW_TAGS & {tag.lower() for tag in tags if isinstance(tag, str)} else None
    return Listing(
        hub=hub,
        id=item["id"],
        version=version,
        file="",
        url=f"{endpoint_url}/models/{item['id']}",
        size=None,
        sha256=None,
        license=license,
        permissions=permissions_of(license),
        base_model=base_model,
        base=normalize_base(base_model),
        nsfw=is_nsfw(level),
        nsfw_level=level,
        trigger_words=(),
        renderings=(),
        downloads=valid_count(item.get("downloads")),
        updated=version,
        first_seen=today,
    )


def _file_url(endpoint_url: str, id: str, path: str, entry: FileEntry) -> str:
    """Return the URL of a file at the revision that last changed it, at BRANCH if that is unknown."""
    value = entry.get("Revision")
    revision = value if isinstance(value, str) and REVISION.fullmatch(value) else BRANCH
    query = urlencode({"Revision": revision, "FilePath": path})
    return f"{endpoint_url}/api/v1/models/{id}/repo?{query}"
