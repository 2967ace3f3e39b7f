"""Typed records of Civitai's API responses: the fields that AutoLoRA reads, under Civitai's names.

Other fields may have any value. A field of a wrong type makes its entry invalid; null means unknown.
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
"""content rating: bits or a word, see labels.nsfw_level_of"""

MAX_REPORTED_ERRORS = 3
"""errors of one entry that its message contains"""


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """A file of a model version."""

    id: Number
    name: Text
    type: Text | None = None
    sizeKB: Kilobytes | None = None
    hashes: Mapping[Text, Text | None] | None = None
    downloadUrl: Text | None = None
    virusScanResult: Text | None = None


@dataclass(frozen=True, kw_only=True)
class VersionImage:
    """An image of a model version's gallery, as /models returns it: without its prompt."""

    url: Text
    type: Text | None = None
    nsfwLevel: Rating | None = None
    poi: Flag | None = None
    """shows a real person"""
    minor: Flag | None = None


@dataclass(frozen=True, kw_only=True)
class PaidAccess:
    """The condition that a version's files are downloadable for payment only; null if they are free."""

    permanent: Flag | None = None
    endsAt: Text | None = None
    """date from which the files are free; null if it is not known"""


@dataclass(frozen=True, kw_only=True)
class Creator:
    """The user who published a model."""

    username: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Usage counts."""

    downloadCount: Number | None = None


@dataclass(frozen=True, kw_only=True)
class VersionEntry:
    """A version of a model with its files and images."""

    id: Number
    baseModel: Text | None = None
    status: Text | None = None
    availability: Text | None = None
    """Public also for versions with paid access"""
    paidAccess: PaidAccess | None = None
    earlyAccessDeadline: Text | None = None
    """date at which a paid access ends, for answers without `paidAccess`"""
    publishedAt: Text | None = None
    createdAt: Text | None = None
    nsfwLevel: Rating | None = None
    trainedWords: list[Text] | None = None
    stats: Stats | None = None
    files: list[FileEntry] | None = None
    images: list[VersionImage] | None = None


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model with its versions, newest first, as /models returns it."""

    id: Number
    name: Any = None
    tags: Any = None
    description: Any = None
    mode: Text | None = None
    """Archived or TakenDown; null if the model is available"""
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
    creator: Creator | None = None
    modelVersions: list[VersionEntry] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """Generation parameters of an image."""

    prompt: Text | None = None


@dataclass(frozen=True, kw_only=True)
class GeneratedImage:
    """An image that a user generated with a model version, as /images returns it."""

    id: Number
    url: Text
    meta: ImageMetadata | None = None


def parse(record: type[T], value: Any) -> T:
    """Return a JSON value as one of the classes above.

    Raises ValueError that names the missing fields and the fields of a wrong type.
    """
    try:
        parsed: T = _adapter(record).validate_python(value)  # type: ignore[arg-type]  # classes are hashable
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        messages = [
            f"{'.'.join(map(str, detail['loc'])) or 'entry'}: {detail['msg']}"
            for detail in details[:MAX_REPORTED_ERRORS]
        ]
        raise ValueError("; ".join(messages)) from error
    return parsed


@cache
def _adapter(record: type[T]) -> TypeAdapter[T]:
    """Return pydantic's validator of a class, built once."""
    return TypeAdapter(record)
