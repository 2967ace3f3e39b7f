"""Parsing of ModelScope's entries: models in lists, model pages and files."""

import datetime
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlencode

from autolora.hubs import Model
from autolora.hubs.civitai.listings import is_usable_url
from autolora.hubs.descriptions import describe
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.huggingface.card import BASE_TAG, NSFW_TAG
from autolora.hubs.labels import highest_level, is_nsfw, normalize_base, permissions_of
from autolora.hubs.modelscope.muse_info import MuseVersion, parse_muse_info, parse_trigger_words, versions_of
from autolora.hubs.validation import (
    as_list,
    clean_text,
    clean_texts,
    format_time,
    is_image,
    is_repo_id,
    is_restricted,
    is_weights,
    parse_time,
    short_repr,
    tag_value,
    valid_count,
    valid_sha256,
)
from autolora.params import CrawlParams
from autolora.records import ListedRendering, Listing

NSFW_TAGS = frozenset({NSFW_TAG, "nsfw"})
CUSTOM_TAG = "custom_tag:"
"""prefix in lists of the tags that an author chose; model pages return them without it"""
LICENSE_TAG = "license:"
VIDEO_SUFFIXES = (".mp4", ".webm", ".mov", ".avi", ".mkv")
BRANCH = "master"
REVISION = re.compile(r"[0-9a-f]{40}")
RESTRICTED_VISIBILITIES = (1, 3)
"""values of Visibility: private, internal"""
GATED_MODE = 1
"""value of ProtectedMode"""

logger = logging.getLogger(__name__)

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
    """Return the listing with the fields that only the model's own page contains, for all files of the model."""
    base_model = next(iter(clean_texts(details.get("BaseModel"))), listing.base_model)
    base_model = base_model and clean_text(base_model.partition("@")[0])  # owner/name@revision
    license = listing.license or clean_text(details.get("License"))
    official = [tag.get("Tag") for tag in as_list(details.get("OfficialTags")) if isinstance(tag, Mapping)]
    level = highest_level(listing.nsfw_level, _nsfw_level([*as_list(details.get("Tags")), *official]))
    return replace(
        listing,
        base_model=base_model,
        base=normalize_base(base_model),
        license=license,
        permissions=permissions_of(license),
        nsfw=is_nsfw(level),
        nsfw_level=level,
        trigger_words=parse_trigger_words(details.get("TriggerWords")),
    )


def file_listings(
    listing: Listing,
    details: Mapping[str, Any],
    files: Mapping[str, FileEntry],
    endpoint: Endpoint,
    rules: CrawlParams,
) -> tuple[Listing, ...]:
    """Return one listing per file of weights, sorted by path.

    listing: the model's listing without a file. details: the model's own page. files: the model's file entries by path.
    A file has the cover images of its versions in `MuseInfo` as renderings, or else the images of the repository. The
    trigger words of a model concern its only file; of several files, those without words of their own.
    """
    described = add_details(listing, details)
    try:
        versions = parse_muse_info(details.get("MuseInfo"))
    except ValueError as error:
        logger.warning("hub %s: %s is listed without its cover images: %s", endpoint.name, listing.id, error)
        versions = ()
    images = [path for path in sorted(files) if is_image(path)][: rules.max_renderings]
    own = tuple(image_rendering(described, endpoint.url, path, files[path]) for path in images)
    weights = [path for path in sorted(files) if is_weights(path)]
    listings = []
    for path in weights:
        published = versions_of(versions, path, is_only_file=len(weights) == 1)
        words = [word for version in published for word in version.trigger_words]
        words += described.trigger_words if len(weights) == 1 or not words else ()
        covers = cover_renderings(described, published, files, endpoint)[: rules.max_renderings]
        file = file_listing(described, endpoint.url, path, files[path])
        listings.append(replace(file, trigger_words=clean_texts(words), renderings=covers or own))
    return tuple(listings)


def file_listing(listing: Listing, endpoint_url: str, path: str, entry: FileEntry) -> Listing:
    """Return the listing of one file of a model. listing: the model's listing without a file."""
    size, sha256 = valid_count(entry.get("Size")), valid_sha256(entry.get("Sha256"))
    url = _file_url(endpoint_url, listing.id, path, entry)
    return replace(listing, file=path, url=url, size=size, sha256=sha256)


def image_rendering(listing: Listing, endpoint_url: str, path: str, entry: FileEntry) -> ListedRendering:
    """Return an image of a model as a rendering with the model's content rating."""
    url, sha256 = _file_url(endpoint_url, listing.id, path, entry), valid_sha256(entry.get("Sha256"))
    return ListedRendering(url=url, sha256=sha256, prompt=None, nsfw_level=listing.nsfw_level)


def cover_renderings(
    listing: Listing, versions: Sequence[MuseVersion], files: Mapping[str, FileEntry], endpoint: Endpoint
) -> tuple[ListedRendering, ...]:
    """Return the usable cover images of some versions as renderings with their prompts, without repetition.

    A cover image that is a file of the repository is pinned to its revision and has its sha256; ModelScope keeps the
    others elsewhere and reports no hash of them. files: the model's file entries by path.
    """
    renderings: dict[str, ListedRendering] = {}
    prefix = f"{endpoint.url}/models/{listing.id}/resolve/"
    for url, prompt in (image for version in versions for image in version.images):
        address = url.partition("?")[0]
        path = unquote(address.removeprefix(prefix).partition("/")[2]) if address.startswith(prefix) else ""
        if path in files:
            rendering = image_rendering(listing, endpoint.url, path, files[path])
        else:
            rendering = ListedRendering(url=url, sha256=None, prompt=None, nsfw_level=listing.nsfw_level)
        if is_usable_url(rendering.url, endpoint) and not address.lower().endswith(VIDEO_SUFFIXES):
            renderings.setdefault(rendering.url, replace(rendering, prompt=prompt))
    return tuple(renderings.values())


def refresh_listing(known: Listing, listing: Listing, rules: CrawlParams) -> Listing:
    """Return a known listing with today's fields of the list entry. Both have the same version."""
    level = highest_level(listing.nsfw_level, known.nsfw_level)
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
        nsfw=is_nsfw(level),
        nsfw_level=level,
        trigger_words=known.trigger_words,
        renderings=known.renderings[: rules.max_renderings],
    )


def _partial_listing(
    item: Mapping[str, Any], hub: str, endpoint_url: str, version: str, today: datetime.date
) -> Listing:
    tags = [tag.removeprefix(CUSTOM_TAG) for tag in as_list(item.get("tags")) if isinstance(tag, str)]
    license = clean_text(item.get("license")) or tag_value(tags, LICENSE_TAG)
    base_model = tag_value(tags, BASE_TAG)
    level = _nsfw_level(tags)
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
        description=describe(item.get("display_name"), _own_tags(item), item.get("description")),
        renderings=(),
        downloads=valid_count(item.get("downloads")),
        updated=version,
        first_seen=today,
    )


def _own_tags(item: Mapping[str, Any]) -> list[str]:
    """Return the tags that the author of a list entry chose."""
    tags = [tag for tag in as_list(item.get("tags")) if isinstance(tag, str)]
    return [tag.removeprefix(CUSTOM_TAG) for tag in tags if tag.startswith(CUSTOM_TAG)]


def _nsfw_level(tags: Sequence[Any]) -> str | None:
    """Return `mature` if one of the tags, in any spelling, marks a model as not safe for work; None if none does."""
    names = {tag.lower().removeprefix(CUSTOM_TAG).strip() for tag in tags if isinstance(tag, str)}
    return "mature" if NSFW_TAGS & names else None


def _file_url(endpoint_url: str, id: str, path: str, entry: FileEntry) -> str:
    """Return the URL of a file at the revision that last changed it, at BRANCH if that is unknown."""
    value = entry.get("Revision")
    revision = value if isinstance(value, str) and REVISION.fullmatch(value) else BRANCH
    query = urlencode({"Revision": revision, "FilePath": path})
    return f"{endpoint_url}/api/v1/models/{id}/repo?{query}"
