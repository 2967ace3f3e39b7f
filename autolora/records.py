"""The nouns of the road: what a hub lists, what the pool holds, what retrieval answers."""

import datetime
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from autolora.files import Row, hash_value

ACCEPTED = "accepted"


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedRendering:
    """A picture that a hub shows for an adapter."""

    url: str
    sha256: str | None
    """as the hub tells it; None where it does not"""
    prompt: str | None

    @property
    def key(self) -> str:
        """What the pool knows this picture by: its sha256 where the hub tells it, else its URL."""
        return self.sha256 or self.url


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
    licence: str | None
    base_model: str | None
    """the hub's label; labels lie, keys and shapes decide"""
    nsfw: bool
    trigger_words: tuple[str, ...]
    renderings: tuple[ListedRendering, ...]
    first_seen: datetime.date
    """the day on which a crawl first listed this file"""

    @property
    def key(self) -> str:
        """What the pool knows this file by: its sha256 where the hub tells it, else where it lies."""
        return self.sha256 or f"{self.hub}:{self.id}@{self.version}/{self.file}"

    @property
    def digest(self) -> str:
        """The sha256 of everything the hub says about it: changes when a licence or flag changes."""
        return hash_value(self.to_row())

    def to_row(self) -> Row:
        """Return the JSON form, `first_seen` as YYYY-MM-DD."""
        return asdict(self) | {"first_seen": self.first_seen.isoformat()}

    @classmethod
    def from_row(cls, row: Row) -> Self:
        """Read the JSON form back; KeyError or TypeError when it is not one."""
        values = dict(row)
        values["renderings"] = tuple(ListedRendering(**rendering) for rendering in row["renderings"])
        values["trigger_words"] = tuple(row["trigger_words"])
        values["first_seen"] = datetime.date.fromisoformat(row["first_seen"])
        return cls(**values)


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
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {name: row[name] for name in known}
        return cls(**(values | {"set_aside": tuple(row["set_aside"])}))


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
    licence: str | None
    nsfw: bool
    trigger_words: tuple[str, ...]
    index: str
    """digest of the index that answered"""
