"""Conversion of Civitai's model entries to listings: the files of LoRA weights and their descriptions."""

import datetime
import math
from collections import Counter
from collections.abc import Iterator

from autolora.errors import HubError
from autolora.hubs import Model
from autolora.hubs.civitai.permissions import license_of, permissions_of
from autolora.hubs.civitai.schema import FileEntry, ModelEntry, VersionEntry
from autolora.hubs.descriptions import describe
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.http.request import allowed_url
from autolora.hubs.labels import highest_level, is_nsfw, normalize_base, nsfw_level_of
from autolora.hubs.validation import (
    as_list,
    clean_text,
    clean_texts,
    format_time,
    is_safe_path,
    is_weights,
    parse_time,
    valid_sha256,
)
from autolora.params import CrawlParams
from autolora.records import NSFW_LEVELS, VOLATILE, ListedRendering, Listing
from autolora.storage.hashes import hash_value

WITHDRAWN_MODES = ("Archived", "TakenDown")
PUBLIC_AVAILABILITIES = (None, "Public", "Unsearchable")
"""availabilities that anybody may download, unless the access is paid"""
WEIGHT_TYPES = (None, "Model", "Pruned Model")
"""file types of weights; others are VAE, training data, configuration and so on"""
MAX_URL = 2000


def parse_model(entry: ModelEntry, endpoint: Endpoint, rules: CrawlParams, today: datetime.date) -> Model:
    """Return the model of an entry, with one partial listing per safetensors file of each free version.

    Model.version consists of the newest version's number and a digest of all listings. Raises ValueError if
    the entry has no date, or a file has an invalid URL.
    """
    versions = _published_versions(entry)
    dates = [date for version in versions if (date := _date(version))]
    withdrawn = is_withdrawn(entry)
    if not dates and not withdrawn:
        raise ValueError("no version has a valid date")
    listings = tuple(
        listing
        for version in _free_versions(entry, today)
        for listing in _partial_listings(entry, version, endpoint, rules, today)
    )
    newest = max((version.id for version in versions), default=0)
    return Model(
        id=str(entry.id),
        version=f"{newest}-{_digest(listings)}",
        updated=max(dates, default=datetime.datetime.combine(today, datetime.time(), datetime.UTC)),
        partial_listings=listings,
        withdrawn=withdrawn,
        author=entry.creator.username if entry.creator else None,
    )


def file_problems(entry: ModelEntry, today: datetime.date) -> tuple[str, ...]:
    """Return one message per file of weights that `parse_model` leaves out because its name is not valid."""
    return tuple(
        f"file {file.id} of version {version.id} is left out: its name {file.name[:100]!r} is not valid, "
        "expected a printable file name without a folder"
        for version in _free_versions(entry, today)
        for file in version.files or []
        if _is_available_weights(file) and not _is_valid_name(file.name)
    )


def is_paid(version: VersionEntry, today: datetime.date) -> bool:
    """Return whether a version's files are downloadable for payment only, at any time of the day.

    A paid access without a valid end is paid until the entry has no paid access any more.
    """
    paid, deadline = version.paidAccess, version.earlyAccessDeadline
    if paid is None and deadline is None:
        return False
    end = parse_time(paid.endsAt if paid and paid.endsAt else deadline)
    if end is None or (paid and paid.permanent):
        return True
    return end >= datetime.datetime.combine(today, datetime.time(), datetime.UTC)


def is_withdrawn(entry: ModelEntry) -> bool:
    """Return whether an entry marks its files as no longer available."""
    return entry.mode in WITHDRAWN_MODES or entry.availability == "Private"


def is_usable_url(url: str, endpoint: Endpoint) -> bool:
    """Return whether a URL may be stored in the catalog and requested: printable ASCII, short and allowed."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable():
        return False
    try:
        allowed_url(endpoint, url)
    except HubError:
        return False
    return True


def _published_versions(entry: ModelEntry) -> list[VersionEntry]:
    return [version for version in entry.modelVersions or [] if version.status in (None, "Published")]


def _free_versions(entry: ModelEntry, today: datetime.date) -> list[VersionEntry]:
    """Return the versions that anybody may download; none of a withdrawn model."""
    if is_withdrawn(entry):
        return []
    return [
        version
        for version in _published_versions(entry)
        if version.availability in PUBLIC_AVAILABILITIES and not is_paid(version, today)
    ]


def _partial_listings(
    entry: ModelEntry, version: VersionEntry, endpoint: Endpoint, rules: CrawlParams, today: datetime.date
) -> Iterator[Listing]:
    """Yield one listing per file of weights with a valid name; renderings have no prompts yet."""
    files = [
        file for file in version.files or [] if _is_available_weights(file) and _is_valid_name(file.name)
    ]
    names, urls = Counter(file.name for file in files), Counter(file.downloadUrl for file in files)
    base_model = clean_text(version.baseModel)
    rating = entry.nsfwLevel if version.nsfwLevel is None else version.nsfwLevel
    level = highest_level(nsfw_level_of(rating), "mature" if entry.nsfw else None)
    stats = version.stats or entry.stats
    updated = _date(version)
    for file in files:
        yield Listing(
            hub=endpoint.name,
            id=str(entry.id),
            version=str(version.id),
            file=_file_path(version, file, unique=names[file.name] == 1),
            url=_download_url(file, endpoint, unique=urls[file.downloadUrl] == 1),
            size=_size(file),
            sha256=valid_sha256((file.hashes or {}).get("SHA256")),
            license=license_of(entry),
            permissions=permissions_of(entry),
            base_model=base_model,
            base=normalize_base(base_model),
            nsfw=is_nsfw(level),
            nsfw_level=level,
            person=entry.poi,
            minor=entry.minor,
            trigger_words=clean_texts(version.trainedWords),
            description=describe(entry.name, as_list(entry.tags), entry.description),
            renderings=_renderings(version, endpoint, rules),
            downloads=stats.downloadCount if stats else None,
            updated=format_time(updated) if updated else None,
            first_seen=today,
        )


def _is_available_weights(file: FileEntry) -> bool:
    """Return whether a file contains weights according to its entry, has a URL, and passed the virus scan."""
    return (
        bool(file.downloadUrl)
        and file.type in WEIGHT_TYPES
        and is_weights(file.name)
        and file.virusScanResult != "Danger"
    )


def _renderings(version: VersionEntry, endpoint: Endpoint, rules: CrawlParams) -> tuple[ListedRendering, ...]:
    """Return the images of a version's gallery that the rules allow, in its order, without prompts."""
    max_level = NSFW_LEVELS.index(rules.max_nsfw_level)
    renderings = (
        ListedRendering(url=image.url, sha256=None, prompt=None, nsfw_level=level)
        for image in version.images or []
        if image.type in (None, "image")
        and not (image.poi and not rules.persons)
        and not (image.minor and not rules.minors)
        and NSFW_LEVELS.index((level := nsfw_level_of(image.nsfwLevel)) or "none") <= max_level
        and is_usable_url(image.url, endpoint)
    )
    return tuple({rendering.url: rendering for rendering in renderings}.values())[: rules.max_renderings]


def _is_valid_name(name: str) -> bool:
    return "/" not in name and is_safe_path(name)


def _file_path(version: VersionEntry, file: FileEntry, unique: bool) -> str:
    """Return `VERSION/NAME`, or `VERSION/FILE_ID/NAME` if the name is not unique."""
    return f"{version.id}/{file.name}" if unique else f"{version.id}/{file.id}/{file.name}"


def _download_url(file: FileEntry, endpoint: Endpoint, unique: bool) -> str:
    """Return a file's URL, with the file's id if several files share the URL. Raises ValueError."""
    url = file.downloadUrl or ""
    if not is_usable_url(url, endpoint):
        raise ValueError(f"the URL {url[:200]!r} of file {file.name[:100]!r} is not allowed")
    return url if unique else f"{url}{'&' if '?' in url else '?'}fileId={file.id}"


def _size(file: FileEntry) -> int | None:
    """Return a file's bytes. A fractional byte count was rounded by the hub: use the next full kilobyte."""
    if file.sizeKB is None:
        return None
    size = file.sizeKB * 1024
    return int(size) if size.is_integer() else math.ceil(file.sizeKB) * 1024


def _date(version: VersionEntry) -> datetime.datetime | None:
    return parse_time(version.publishedAt) or parse_time(version.createdAt)


def _digest(listings: tuple[Listing, ...]) -> str:
    """Return 16 hex digits that depend on the files' descriptions, but not on the day or moving counts."""
    ignored = {*VOLATILE, "first_seen"}
    return hash_value(
        [
            {name: value for name, value in listing.to_row().items() if name not in ignored}
            for listing in listings
        ]
    )[:16]
