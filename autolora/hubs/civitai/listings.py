"""Civitai's entries as listings: which of a model's files are LoRA weights, and what is said of them."""

import datetime
import math
import re
from collections import Counter
from collections.abc import Iterator

from autolora.errors import HubError
from autolora.hubs import Model
from autolora.hubs.civitai.schema import Entry, File, Version
from autolora.hubs.http.endpoint import Source
from autolora.hubs.http.request import askable
from autolora.hubs.labels import highest, is_nsfw, level_of, normalize_base
from autolora.hubs.validation import clean, clean_all, is_safe, is_weights, moment, sha256, stamp
from autolora.params import CrawlParams
from autolora.records import MOVING, NSFW_LEVELS, ListedRendering, Listing, Permissions
from autolora.storage.files import hash_value

GONE = ("Archived", "TakenDown")
OPEN = (None, "Public", "Unsearchable")
"""availabilities of what anybody may download; early access is listed when it is over"""
WEIGHTS = (None, "Model", "Pruned Model")
"""types of files that are no VAE, training data, configuration, ..."""
MAX_URL = 2000


def model_of(entry: Entry, source: Source, rules: CrawlParams, today: datetime.date) -> Model:
    """Return an entry of the list as a model, one draft for each safetensors file of each version.

    Model.version is the newest version's number and a digest of all that is said. Raises ValueError where an entry
    has no date, or a file a name or URL that cannot be used.
    """
    versions = [version for version in entry.modelVersions or [] if version.status in (None, "Published")]
    dates = [date for version in versions if (date := _date(version))]
    withdrawn = is_withdrawn(entry)
    if not dates and not withdrawn:
        raise ValueError("it comes without a version that has a date")
    files = [] if withdrawn else versions
    drafts = tuple(draft for version in files for draft in _drafts(entry, version, source, rules, today))
    newest = max((version.id for version in versions), default=0)
    return Model(
        id=str(entry.id),
        version=f"{newest}-{_digest(drafts)}",
        updated=max(dates, default=datetime.datetime.combine(today, datetime.time(), datetime.UTC)),
        drafts=drafts,
        withdrawn=withdrawn,
    )


def is_withdrawn(entry: Entry) -> bool:
    """Tell whether an entry says that its files are not to be had any more."""
    return entry.mode in GONE or entry.availability == "Private"


def license_of(entry: Entry) -> str | None:
    """Return the four permission fields as given, in one line; None where none is given."""
    commercial = _commercial(entry)
    said = {
        "commercial": None if commercial is None else "+".join(commercial) or "None",
        "derivatives": _yes_no(entry.allowDerivatives),
        "different-license": _yes_no(entry.allowDifferentLicense),
        "credit": None if entry.allowNoCredit is None else "free" if entry.allowNoCredit else "needed",
    }
    words = ", ".join(f"{name}={value}" for name, value in said.items() if value)
    return f"civitai: {words}" if words else None


def permissions_of(entry: Entry) -> Permissions:
    """Return the permission fields in the form for all hubs.

    Commercial is what may be earned with outside of Civitai: Image (pictures may be sold), Rent or Sell.
    """
    commercial = _commercial(entry)
    return Permissions(
        commercial=None if commercial is None else bool({"Image", "Rent", "Sell"} & set(commercial)),
        derivatives=entry.allowDerivatives,
        credit=None if entry.allowNoCredit is None else not entry.allowNoCredit,
    )


def is_usable(url: str, source: Source) -> bool:
    """Tell whether a URL can be kept in the catalog and asked for: plain, short, and where downloads may go."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable():
        return False
    try:
        askable(source, url)
    except HubError:
        return False
    return True


def _drafts(
    entry: Entry, version: Version, source: Source, rules: CrawlParams, today: datetime.date
) -> Iterator[Listing]:
    """Yield a listing for each file of weights that anybody may download."""
    if version.availability not in OPEN:
        return
    files = [file for file in version.files or [] if _is_wanted(file)]
    names, urls = Counter(file.name for file in files), Counter(file.downloadUrl for file in files)
    base_model = clean(version.baseModel)
    rating = entry.nsfwLevel if version.nsfwLevel is None else version.nsfwLevel
    level = highest(level_of(rating), "mature" if entry.nsfw else None)
    stats = version.stats or entry.stats
    updated = _date(version)
    for file in files:
        yield Listing(
            hub=source.name,
            id=str(entry.id),
            version=str(version.id),
            file=_place(version, file, unique=names[file.name] == 1),
            url=_url(file, source, unique=urls[file.downloadUrl] == 1),
            size=_size(file),
            sha256=sha256((file.hashes or {}).get("SHA256")),
            license=license_of(entry),
            permissions=permissions_of(entry),
            base_model=base_model,
            base=normalize_base(base_model),
            nsfw=is_nsfw(level),
            nsfw_level=level,
            person=entry.poi,
            minor=entry.minor,
            trigger_words=clean_all(version.trainedWords),
            renderings=_shown(version, source, rules),
            downloads=stats.downloadCount if stats else None,
            updated=stamp(updated) if updated else None,
            first_seen=today,
        )


def _is_wanted(file: File) -> bool:
    """Tell whether a file holds weights, by what is said of it, and can be had."""
    return (
        bool(file.downloadUrl)
        and file.type in WEIGHTS
        and is_weights(file.name)
        and file.virusScanResult != "Danger"
    )


def _shown(version: Version, source: Source, rules: CrawlParams) -> tuple[ListedRendering, ...]:
    """Return the pictures that a version shows, in its order, as far as the rules let them in; no prompts yet."""
    most = NSFW_LEVELS.index(rules.max_nsfw_level)
    shown = (
        ListedRendering(url=picture.url, sha256=None, prompt=None, nsfw_level=level)
        for picture in version.images or []
        if picture.type in (None, "image")
        and not (picture.poi and not rules.persons)
        and not (picture.minor and not rules.minors)
        and NSFW_LEVELS.index((level := level_of(picture.nsfwLevel)) or "none") <= most
        and is_usable(picture.url, source)
    )
    return tuple({one.url: one for one in shown}.values())[: rules.max_renderings]


def _place(version: Version, file: File, unique: bool) -> str:
    """Return what a file is called within its model; ValueError where its name is no name."""
    if "/" in file.name or not is_safe(file.name):
        raise ValueError(f"its file {file.name[:100]!r} has a name that is none")
    return f"{version.id}/{file.name}" if unique else f"{version.id}/{file.id}/{file.name}"


def _url(file: File, source: Source, unique: bool) -> str:
    """Return where a file is downloaded, told apart by its number where several share a URL; ValueError."""
    url = file.downloadUrl or ""
    if not is_usable(url, source):
        raise ValueError(f"its file {file.name[:100]!r} is at {url[:200]!r}, which is not asked")
    return url if unique else f"{url}{'&' if '?' in url else '?'}fileId={file.id}"


def _size(file: File) -> int | None:
    """Return a file's bytes; where the hub has rounded them, the next full kilobyte, which is no less."""
    if file.sizeKB is None:
        return None
    size = file.sizeKB * 1024
    return int(size) if size.is_integer() else math.ceil(file.sizeKB) * 1024


def _date(version: Version) -> datetime.datetime | None:
    return moment(version.publishedAt) or moment(version.createdAt)


def _commercial(entry: Entry) -> list[str] | None:
    """Return the allowed uses: a list, one word, or `{Image,Rent}`, all of which the hub has sent; None: not said."""
    said = entry.allowCommercialUse
    if said is None:
        return None
    words = re.findall(r"\w+", said if isinstance(said, str) else " ".join(said), re.ASCII)
    return sorted({word[:40] for word in words} - {"None"})[:10]


def _yes_no(value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def _digest(drafts: tuple[Listing, ...]) -> str:
    """Return 16 hex digits that change with what is said of the files, and not with the day."""
    passing = {*MOVING, "first_seen"}
    return hash_value(
        [{name: value for name, value in draft.to_row().items() if name not in passing} for draft in drafts]
    )[:16]
