"""The nouns of the road: what a hub lists, what the pool holds, what retrieval answers."""

import datetime
from dataclasses import asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from autolora.storage.files import Row, hash_value
from autolora.storage.validation import Kinds, checked, day, hashes, one_of, texts

ACCEPTED = "accepted"

Base = Literal[
    "flux.1-dev", "flux.1-schnell", "flux.1-krea", "flux.1-kontext", "flux.1-fill", "flux.2", "other"
]
NsfwLevel = Literal["none", "soft", "mature", "explicit", "blocked"]
Status = Literal["listed", "queued", "missing", "withdrawn"]
BASES: tuple[str, ...] = get_args(Base)
NSFW_LEVELS: tuple[str, ...] = get_args(NsfwLevel)
"""mildest first"""
STATUSES: tuple[str, ...] = get_args(Status)
MOVING = ("status", "stale_since", "withdrawn", "downloads", "updated", "complete")
"""fields of a listing that move while its description stays"""
DATES = ("first_seen", "stale_since", "withdrawn")


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRendering:
    """A picture that a hub shows for an adapter."""

    url: str
    sha256: str | None
    """as the hub tells it; None where it does not"""
    prompt: str | None
    nsfw_level: str | None = None
    """one of NSFW_LEVELS; None = not said"""

    @property
    def key(self) -> str:
        """What the pool knows this picture by: its sha256 where the hub tells it, else its URL."""
        return self.sha256 or self.url


@dataclass(frozen=True, kw_only=True, slots=True)
class Permissions:
    """What a license allows, in one form for all hubs; None = not said."""

    commercial: bool | None = None
    derivatives: bool | None = None
    credit: bool | None = None
    """True: the author must be named"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """One line of data/catalog.jsonl: an adapter version as its hub describes it, unchecked."""

    hub: str
    id: str
    """the hub's name for the adapter, e.g. author/name"""
    version: str
    """the hub's revision, e.g. a commit of 40 hex digits"""
    file: str
    url: str
    """where the file can be downloaded"""
    size: int | None
    """bytes, as the hub tells"""
    sha256: str | None
    license: str | None
    """as given"""
    permissions: Permissions = field(default_factory=Permissions)
    base_model: str | None
    """the hub's label; labels lie, keys and shapes decide"""
    base: str | None = None
    """base_model as one of BASES; None where nothing is said"""
    nsfw: bool
    """level above soft"""
    nsfw_level: str | None = None
    """one of NSFW_LEVELS; None = not said"""
    person: bool | None = None
    """shows a real person; None = not said"""
    minor: bool | None = None
    """shows a minor; None = not said"""
    trigger_words: tuple[str, ...]
    renderings: tuple[ListedRendering, ...]
    downloads: int | None = None
    """as the hub told when the file was first listed"""
    updated: str | None = None
    """the hub's date of this version, YYYY-MM-DDTHH:MM:SSZ"""
    first_seen: datetime.date
    """the day on which a crawl first listed this file"""
    status: str = "listed"
    """listed: goes down the road; queued: waits for a night's budget; missing: not seen in the last whole look, goes
    down the road; withdrawn: a tombstone, out of everything"""
    stale_since: datetime.date | None = None
    """its hub could not be asked about it since"""
    withdrawn: datetime.date | None = None
    complete: bool = True
    """False: some of what its hub knows of it could not be had; it is asked about again when it is met"""

    @property
    def key(self) -> str:
        """What the pool knows this file by: its sha256 where the hub tells it, else where it lies."""
        return self.sha256 or f"{self.hub}:{self.id}@{self.version}/{self.file}"

    @property
    def digest(self) -> str:
        """The sha256 of how the hub describes it: changes when a license or flag changes."""
        return hash_value({name: value for name, value in self.to_row().items() if name not in MOVING})

    @property
    def on_the_road(self) -> bool:
        """Whether the stages after `crawl` see it."""
        return self.status in ("listed", "missing")

    def to_row(self) -> Row:
        """Return the JSON form, dates as YYYY-MM-DD."""
        row: Row = {name: getattr(self, name) for name in LISTING}
        row["permissions"] = {name: getattr(self.permissions, name) for name in PERMISSIONS}
        row["renderings"] = [{name: getattr(one, name) for name in RENDERING} for one in self.renderings]
        row["trigger_words"] = list(self.trigger_words)
        return row | {name: row[name] and row[name].isoformat() for name in DATES}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read the JSON form back; KeyError, TypeError or ValueError when it is not one."""
        values = checked(row, LISTING)
        for name, allowed in WORDS.items():
            one_of(values.get(name), allowed)
        values["permissions"] = Permissions(**checked(values.get("permissions", {}), PERMISSIONS))
        values["renderings"] = tuple(ListedRendering(**checked(one, RENDERING)) for one in row["renderings"])
        for picture in values["renderings"]:
            one_of(picture.nsfw_level, NSFW_LEVELS)
        hashes(values.get("sha256"), *(picture.sha256 for picture in values["renderings"]))
        values["trigger_words"] = texts(row["trigger_words"])
        values |= {name: day(values[name]) for name in DATES if name in values}
        return cls(**values)


def _kinds(record: type) -> Kinds:
    """Return which JSON types the fields of a record have."""
    return {name: _json_types(hint) for name, hint in get_type_hints(record).items()}


def _json_types(hint: Any) -> tuple[type, ...]:
    """Return the JSON types of a field: a date is text, a tuple a list, a record an object."""
    if get_origin(hint) is UnionType:
        return tuple(kind for member in get_args(hint) for kind in _json_types(member))
    if get_origin(hint) is tuple:
        return (list,)
    if hint in (str, int, bool, NoneType):
        return (hint,)
    return (str,) if hint is datetime.date else (dict,)


LISTING, RENDERING, PERMISSIONS = _kinds(Listing), _kinds(ListedRendering), _kinds(Permissions)
WORDS = {"base": BASES, "nsfw_level": NSFW_LEVELS, "status": STATUSES}


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """One line of data/pool/adapters.jsonl: a LoRA file as we found it, read once."""

    key: str
    """Listing.key"""
    sha256: str
    """of the bytes we downloaded"""
    size: int
    recipe: str
    """digest of reader version, sketch spec and base config: a new recipe reads the file again"""
    verdict: str
    """'accepted' or a reason code of autolora.lora.verdict"""
    reason: str
    """the verdict in words; empty when accepted"""
    layout: str | None
    num_slots: int
    """canonical slots with an update that is not zero"""
    rank_max: int
    norm: float
    """Frobenius norm of the whole update, over all slots"""
    dtype: str | None
    keys_used: int
    keys_seen: int
    set_aside: tuple[str, ...]
    """families of known keys that are no slots, e.g. text encoder"""
    warnings: tuple[str, ...] = ()
    """codes of autolora.lora.verdict.WARNINGS: what is odd about an accepted file"""

    @property
    def accepted(self) -> bool:
        """Whether this adapter goes down the road."""
        return self.verdict == ACCEPTED

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read the JSON form back."""
        known = {field.name for field in fields(cls)} & row.keys()
        values: dict[str, Any] = {name: row[name] for name in known}
        lists = {name: tuple(row.get(name, ())) for name in ("set_aside", "warnings")}
        return cls(**(values | lists))


@dataclass(frozen=True, kw_only=True, slots=True)
class PooledRendering:
    """One line of data/pool/renderings.jsonl: a picture we downloaded and checked."""

    key: str
    """ListedRendering.key"""
    sha256: str
    """of the file in data/pool/renderings"""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One answer of retrieval."""

    rank: int
    """1 is best"""
    score: float
    """cosine of prompt and adapter, -1 to 1"""
    sha256: str
    hub: str
    id: str
    file: str
    license: str | None
    nsfw: bool
    trigger_words: tuple[str, ...]
    index: str
    """digest of the index that answered"""
