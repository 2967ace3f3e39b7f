"""Conversion of Civitai's model entries to listings: the files of LoRA weights and their descriptions."""

import datetime
import math
import re
from collections import Counter
from collections.abc import Iterator

from autolora.errors import HubError
from autolora.hubs import Model
from autolora.hubs.civitai.schema import FileEntry, ModelEntry, VersionEntry
from autolora.hubs.http.endpoint import Endpoint
from autolora.hubs.http.request import allowed_url
from autolora.hubs.labels import highest_level, is_nsfw, normalize_base, nsfw_level_of
from autolora.hubs.validation import (
    clean_text,
    clean_texts,
    format_time,
    is_safe_path,
    is_weights,
    parse_time,
    valid_sha256,
)
from autolora.params import CrawlParams
from autolora.records import NSFW_LEVELS, VOLATILE, ListedRendering, Listing, Permissions
from autolora.storage.hashes import hash_value

WITHDRAWN_MODES = ("Archived", "TakenDown")
PUBLIC_AVAILABILITIES = (None, "Public", "Unsearchable")
"""availabilities that anybody may download; a version in early access is listed once that has ended"""
WEIGHT_TYPES = (None, "Model", "Pruned Model")
"""file types of weights; others are VAE, training data, configuration and so on"""
MAX_URL = 2000


def parse_model(entry: ModelEntry, endpoint: Endpoint, rules: CrawlParams, today: datetime.date) -> Model:
    """Return the model of an entry, with one partial listing per safetensors file of each version.

    Model.version consists of the newest version's number and a digest of all listings. Raises ValueError if
    the entry has no date, or a file has an invalid name or URL.
    """
    versions = [version for version in entry.modelVersions or [] if version.status in (None, "Published")]
    dates = [date for version in versions if (date := _date(version))]
    withdrawn = is_withdrawn(entry)
    if not dates and not withdrawn:
        raise ValueError("no version has a valid date")
    listings = tuple(
        listing
        for version in ([] if withdrawn else versions)
        for listing in _partial_listings(entry, version, endpoint, rules, today)
    )
    newest = max((version.id for version in versions), default=0)
    return Model(
        id=str(entry.id),
        version=f"{newest}-{_digest(listings)}",
        updated=max(dates, default=datetime.datetime.combine(today, datetime.time(), datetime.UTC)),
        partial_listings=listings,
        withdrawn=withdrawn,
    )


def is_withdrawn(entry: ModelEntry) -> bool:
    """Return whether an entry marks its files as no longer available."""
    return entry.mode in WITHDRAWN_MODES or entry.availability == "Private"


def license_of(entry: ModelEntry) -> str | None:
    """Return Civitai's four permission fields as one line of text; None if all are unknown."""
    uses = _commercial_uses(entry)
    fields = {
        "commercial": None if uses is None else "+".join(uses) or "None",
        "derivatives": _yes_no(entry.allowDerivatives),
        "different-license": _yes_no(entry.allowDifferentLicense),
        "credit": None if entry.allowNoCredit is None else "free" if entry.allowNoCredit else "needed",
    }
    text = ", ".join(f"{name}={value}" for name, value in fields.items() if value)
    return f"civitai: {text}" if text else None


def permissions_of(entry: ModelEntry) -> Permissions:
    """Return the permission fields in the form that all hubs share.

    Commercial use is any paid use outside of Civitai: Image (selling images), Rent or Sell.
    """
    uses = _commercial_uses(entry)
    return Permissions(
        commercial=None if uses is None else bool({"Image", "Rent", "Sell"} & set(uses)),
        derivatives=entry.allowDerivatives,
        credit=None if entry.allowNoCredit is None else not entry.allowNoCredit,
    )


def is_usable_url(url: str, endpoint: Endpoint) -> bool:
    """Return whether a URL may be stored in the catalog and requested: printable ASCII, short and allowed."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable():
        return False
    try:
        allowed_url(endpoint, url)
    except HubError:
        return False
    return True


def _partial_listings(
    entry: ModelEntry, version: VersionEntry, endpoint: Endpoint, rules: CrawlParams, today: datetime.date
) -> Iterator[Listing]:
    """Yield one listing per publicly available file of weights; renderings have no prompts yet."""
    if version.availability not in PUBLIC_AVAILABILITIES:
        return
    files = [file for file in version.files or [] if _is_available_weights(file)]
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


def _file_path(version: VersionEntry, file: FileEntry, unique: bool) -> str:
    """Return `VERSION/NAME`, or `VERSION/FILE_ID/NAME` if the name is not unique. Raises ValueError."""
    if "/" in file.name or not is_safe_path(file.name):
        raise ValueError(f"the file name {file.name[:100]!r} is not valid")
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


def _commercial_uses(entry: ModelEntry) -> list[str] | None:
    """Return the allowed uses, sorted. Civitai sends a list, one word, or `{Image,Rent}`; None if unknown."""
    value = entry.allowCommercialUse
    if value is None:
        return None
    words = re.findall(r"\w+", value if isinstance(value, str) else " ".join(value), re.ASCII)
    return sorted({word[:40] for word in words} - {"None"})[:10]


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _digest(listings: tuple[Listing, ...]) -> str:
    """Return 16 hex digits that depend on the files' descriptions, but not on the day or moving counts."""
    ignored = {*VOLATILE, "first_seen"}
    return hash_value(
        [
            {name: value for name, value in listing.to_row().items() if name not in ignored}
            for listing in listings
        ]
    )[:16]
