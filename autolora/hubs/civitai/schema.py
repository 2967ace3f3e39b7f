"""What Civitai's API answers, in the fields that we read: spelled as it spells them, of the types that it promises.

Fields that are not here may be anything. One of a wrong type spoils its entry; one that is null is not said.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import Field, Strict, TypeAdapter, ValidationError

T = TypeVar("T")
Number = Annotated[int, Strict(), Field(ge=0, le=2**53)]
Kilobytes = Annotated[float, Strict(), Field(ge=0, le=2**43, allow_inf_nan=False)]
"""1024 bytes"""
Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Rating = Number | Text
"""bits, or a word"""

MAX_NAMED = 3
"""mistakes of one entry that are told"""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a version."""

    id: Number
    name: Text
    type: Text | None = None
    sizeKB: Kilobytes | None = None
    hashes: Mapping[Text, Text | None] | None = None
    downloadUrl: Text | None = None
    virusScanResult: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture that a version shows; of /models, without its prompt."""

    url: Text
    type: Text | None = None
    nsfwLevel: Rating | None = None
    poi: Flag | None = None
    minor: Flag | None = None


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Counts."""

    downloadCount: Number | None = None


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a model: what can be downloaded."""

    id: Number
    baseModel: Text | None = None
    status: Text | None = None
    availability: Text | None = None
    publishedAt: Text | None = None
    createdAt: Text | None = None
    nsfwLevel: Rating | None = None
    trainedWords: list[Text] | None = None
    stats: Stats | None = None
    files: list[File] | None = None
    images: list[Picture] | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model with its versions, newest first; of /models."""

    id: Number
    mode: Text | None = None
    """Archived or TakenDown; null for what is to be had"""
    availability: Text | None = None
    nsfw: Flag | None = None
    nsfwLevel: Rating | None = None
    poi: Flag | None = None
    """shows a real person"""
    minor: Flag | None = None
    allowNoCredit: Flag | None = None
    allowCommercialUse: list[Text] | Text | None = None
    allowDerivatives: Flag | None = None
    allowDifferentLicense: Flag | None = None
    stats: Stats | None = None
    modelVersions: list[Version] | None = None


@dataclass(frozen=True, kw_only=True)
class Meta:
    """How a picture was made."""

    prompt: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Image:
    """How a picture was made; of /images."""

    id: Number
    url: Text
    meta: Meta | None = None


def read(kind: type[T], value: Any) -> T:
    """Return a JSON value as one of the classes above.

    Raises ValueError that names what is missing or of a wrong type.
    """
    try:
        found: T = _reader(kind).validate_python(value)  # type: ignore[arg-type]  # classes are hashable
    except ValidationError as error:
        named = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_NAMED]
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'it'}: {fault['msg']}" for fault in named]
        raise ValueError("; ".join(faults)) from error
    return found


@cache
def _reader(kind: type[T]) -> TypeAdapter[T]:
    """Return what checks a class; made once."""
    return TypeAdapter(kind)
