"""Record types shared by all stages: catalog lines, rows of the pool and the captions, and retrieval results."""

import datetime
from dataclasses import asdict, dataclass, field
from types import NoneType, UnionType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from autolora.storage.files import Row
from autolora.storage.hashes import hash_value
from autolora.storage.validation import (
    FieldTypes,
    check_choice,
    check_sha256,
    checked_object,
    parse_date,
    strings,
)

ACCEPTED = "accepted"
MIN_PREFIX_DIGITS = 6
"""of a sha256 that names an adapter on the command line"""

Base = Literal[
    "flux.1-dev", "flux.1-schnell", "flux.1-krea", "flux.1-kontext", "flux.1-fill", "flux.2", "other"
]
NsfwLevel = Literal["none", "soft", "mature", "explicit", "blocked"]
Status = Literal["listed", "queued", "missing", "withdrawn", "rejected"]
BASES: tuple[str, ...] = get_args(Base)
NSFW_LEVELS: tuple[str, ...] = get_args(NsfwLevel)
"""mildest first"""
STATUSES: tuple[str, ...] = get_args(Status)
VOLATILE = ("status", "stale_since", "withdrawn", "downloads", "updated", "complete", "deferred_renderings")
"""fields of a listing that may change while its metadata stays the same; Listing.digest leaves them out"""
DATES = ("first_seen", "stale_since", "withdrawn")
LEFT_OUT = ("deferred_renderings", "description")
"""fields of a listing that its JSON form has only if they are not empty"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRendering:
    """An image that a hub's gallery shows for an adapter."""

    url: str
    sha256: str | None
    """as the hub reports it; None if it reports none"""
    prompt: str | None
    nsfw_level: str | None = None
    """one of NSFW_LEVELS; None: not reported"""

    @property
    def key(self) -> str:
        """The identifier of this image in the pool: its sha256 if the hub reports it, else its URL."""
        return self.sha256 or self.url

    def to_row(self) -> Row:
        """Return the JSON form."""
        return {name: getattr(self, name) for name in RENDERING}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the rendering of a JSON form. Raises KeyError, TypeError or ValueError if the form is not valid."""
        rendering = cls(**checked_object(row, RENDERING))
        check_choice(rendering.nsfw_level, NSFW_LEVELS)
        check_sha256(rendering.sha256)
        return rendering


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """The permissions of a license, in one form for all hubs; None: not reported."""

    commercial: bool | None = None
    derivatives: bool | None = None
    credit: bool | None = None
    """True: the author must be credited"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """One line of the catalog: a file of an adapter as its hub describes it; the description is not verified."""

    hub: str
    id: str
    """the hub's identifier of the adapter, e.g. author/name"""
    version: str
    """the hub's revision, e.g. a commit of 40 hex digits"""
    file: str
    url: str
    """download URL of the file"""
    size: int | None
    """bytes, as the hub reports it; None if it reports none"""
    sha256: str | None
    """as the hub reports it; None if it reports none"""
    license: str | None
    """unchanged text from the hub"""
    permissions: Permissions = field(default_factory=Permissions)
    base_model: str | None
    """the hub's label; labels can be wrong, so the pool decides by keys and shapes"""
    base: str | None = None
    """base_model as one of BASES; None: not reported"""
    nsfw: bool
    """not safe for work: the level is above soft"""
    nsfw_level: str | None = None
    """one of NSFW_LEVELS; None: not reported"""
    person: bool | None = None
    """shows a real person; None: not reported"""
    minor: bool | None = None
    """shows a minor; None: not reported"""
    trigger_words: tuple[str, ...]
    description: tuple[str, ...] = ()
    """what its author says that it does: title, tags, and the beginning of a text"""
    renderings: tuple[ListedRendering, ...]
    downloads: int | None = None
    """number of downloads that the hub reported when the file was first listed, which crawl/scan.py retains"""
    updated: str | None = None
    """the hub's date of this version, YYYY-MM-DDTHH:MM:SSZ (UTC)"""
    first_seen: datetime.date
    """the day on which a crawl first listed this file"""
    status: str = "listed"
    """listed: active; missing: not in the last full scan of its hub, still active; queued: waits for its turn,
    a download retry or a scan; withdrawn: a tombstone; rejected: excluded by a rule. The last three are not active"""
    stale_since: datetime.date | None = None
    """the day since which the listing is retained from an earlier crawl; None: the last crawl confirmed it"""
    withdrawn: datetime.date | None = None
    """the day on which a crawl noticed the withdrawal"""
    complete: bool = True
    """False: some metadata could not be fetched from the hub, and the next scan that lists the model fetches it again;
    or the listing is partial"""
    deferred_renderings: tuple[tuple[int, ListedRendering], ...] = ()
    """renderings that are left out of `renderings` until their next attempt, with their positions in it"""

    @property
    def key(self) -> str:
        """The identifier of this file in the pool: the sha256 if the hub reports it, else hub:id@version/file."""
        return self.sha256 or f"{self.hub}:{self.id}@{self.version}/{self.file}"

    @property
    def digest(self) -> str:
        """The sha256 of the metadata; it changes, for example, if a license or flag changes."""
        return hash_value({name: value for name, value in self.to_row().items() if name not in VOLATILE})

    @property
    def is_active(self) -> bool:
        """Whether the stages after `crawl` process this listing."""
        return self.status in ("listed", "missing")

    @property
    def is_partial(self) -> bool:
        """Whether the listing is as the hub's list gave it: the model has not been requested, as it waits."""
        return self.status == "queued" and not self.complete

    def to_row(self) -> Row:
        """Return the JSON form, dates as YYYY-MM-DD."""
        row: Row = {name: getattr(self, name) for name in LISTING if name not in LEFT_OUT}
        row["permissions"] = {name: getattr(self.permissions, name) for name in PERMISSIONS}
        row["renderings"] = [rendering.to_row() for rendering in self.renderings]
        deferred = [[position, rendering.to_row()] for position, rendering in self.deferred_renderings]
        row |= {"deferred_renderings": deferred} if deferred else {}
        row["trigger_words"] = list(self.trigger_words)
        row |= {"description": list(self.description)} if self.description else {}
        return row | {name: row[name] and row[name].isoformat() for name in DATES}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the listing of a JSON form. Raises KeyError, TypeError or ValueError if the form is not valid."""
        values = checked_object(row, LISTING)
        for name, allowed in CHOICES.items():
            check_choice(values.get(name), allowed)
        values["permissions"] = Permissions(**checked_object(values.get("permissions", {}), PERMISSIONS))
        values["renderings"] = tuple(map(ListedRendering.from_row, row["renderings"]))
        values["deferred_renderings"] = tuple(
            (int(position), ListedRendering.from_row(rendering))
            for position, rendering in row.get("deferred_renderings", ())
        )
        check_sha256(values.get("sha256"))
        values["trigger_words"] = strings(row["trigger_words"])
        values["description"] = strings(row.get("description", ()))
        values |= {name: parse_date(values[name]) for name in DATES if name in values}
        return cls(**values)


def _field_types(record: type) -> FieldTypes:
    """Return the JSON types of each field of a record."""
    return {name: _json_types(hint) for name, hint in get_type_hints(record).items()}


def _json_types(hint: Any) -> tuple[type, ...]:
    """Return the JSON types of a field: a string for a date, a list for a tuple, an object for a record."""
    if get_origin(hint) is UnionType:
        return tuple(json_type for member in get_args(hint) for json_type in _json_types(member))
    if get_origin(hint) is tuple:
        return (list,)
    if hint in (str, int, bool, NoneType):
        return (hint,)
    return (str,) if hint is datetime.date else (dict,)


LISTING, RENDERING, PERMISSIONS = map(_field_types, (Listing, ListedRendering, Permissions))
CHOICES = {"base": BASES, "nsfw_level": NSFW_LEVELS, "status": STATUSES}


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """One line of data/pool/adapters.jsonl: the result of reading a LoRA file."""

    key: str
    """Listing.key"""
    sha256: str
    """of the downloaded bytes"""
    size: int
    recipe: str
    """digest of autolora.pool.recipe.ReadRecipe; the file is read again if it changes"""
    verdict: str
    """'accepted' or a reason code of autolora.lora.verdict"""
    reason: str
    """explanation of the verdict; empty if accepted"""
    layout: str | None
    num_slots: int
    """number of canonical slots with a nonzero update"""
    rank_max: int
    norm: float
    """Frobenius norm of the update over all slots, estimated from the sketch: at the widths of FLUX.1-dev 95 % of the
    errors are below 2.6 %, the largest of 36 is 3.6 %; at the playground's 7.6 % and 13.8 % (docs/sketch.md)"""
    dtype: str | None
    keys_used: int
    keys_seen: int
    ignored_keys: tuple[str, ...]
    """families of recognized keys that update no slot, e.g. text-encoder"""
    warnings: tuple[str, ...] = ()
    """codes of autolora.lora.verdict.WARNINGS: peculiarities of an accepted file"""

    @property
    def accepted(self) -> bool:
        """Whether the stages after `pool` process this adapter."""
        return self.verdict == ACCEPTED

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Return the adapter of a JSON form; unknown fields are dropped."""
        values: dict[str, Any] = {name: row[name] for name in cls.__slots__ if name in row}
        lists = {name: tuple(row.get(name, ())) for name in ("ignored_keys", "warnings")}
        return cls(**(values | lists))


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledRendering:
    """One line of data/pool/renderings.jsonl: a downloaded and validated image."""

    key: str
    """ListedRendering.key"""
    sha256: str
    """of the download; names the re-encoded file in data/pool/renderings"""
    width: int
    height: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Caption:
    """One line of data/captions/captions.jsonl."""

    image: str
    """sha256 of the rendering"""
    prompt: str
    """digest of the instruction (its text and the token limit)"""
    vlm: str
    """digest of the VLM folder"""
    length: str
    """short, medium or long: the instruction's name in params.yaml"""
    text: str
    cut: bool = False
    """whether the VLM's answer was longer than the limit of tokens, so that its end is missing"""

    def to_row(self) -> Row:
        """Return the JSON form, in which only a cut caption has the field `cut`."""
        row = asdict(self)
        return row if self.cut else {name: value for name, value in row.items() if name != "cut"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One result of a retrieval query."""

    rank: int
    """1 is best"""
    score: float
    """cosine of adapter and prompt, or its `part`, -1 to 1; in a selection without a language, of what is left"""
    relevance: float | None
    """probability that the prompt asks for what the adapter does; None if the encoder has no calibration, or if
    the adapter was named"""
    sha256: str
    hub: str
    id: str
    file: str
    license: str | None
    nsfw: bool
    trigger_words: tuple[str, ...]
    index: str
    """digest of the index that was searched"""
    strength: float = 1.0
    """factor of the adapter's update in generation"""
    part: str | None = None
    """the part of the prompt that the adapter answers; None if whole prompts are compared, or the adapter was named"""
    description: tuple[str, ...] = ()
    """what its author says that it does"""
    exact: str | None = None
    """what of the adapter the prompt names, e.g. `trigger word enxq`: such adapters come first in a search"""
