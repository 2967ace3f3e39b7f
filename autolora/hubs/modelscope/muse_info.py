"""Parsing of `MuseInfo`, in which ModelScope describes the published versions of an image model.

It is JSON text on a model's page and an object in searches. Each version names its files and contains their trigger
words and cover images, with the prompts of the images:

    {"versions": [{"stats": {"fileList": ["ink.safetensors"]},
                   "modelVersion": {"triggerWords": "[\\"inkwsh\\"]"},
                   "coverImages": [{"url": "https://resources.modelscope.cn/ink.png", "prompt": "a heron"}]}]}

Models that were uploaded with git have none. Sources of these shapes: tests/hubs/answers/README.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autolora.hubs.validation import as_list, clean_text, clean_texts, short_repr

MAX_MUSE_CHARS = 4_000_000
"""length of MuseInfo as text"""
MAX_VERSIONS = 1000
MAX_IMAGES = 1000
"""per version"""
NO_WORDS = frozenset({"none", "null", "n/a"})
"""trigger words that stand for an empty field"""


@dataclass(frozen=True, kw_only=True, slots=True)
class MuseVersion:
    """One published version of a model."""

    files: frozenset[str]
    """names of its files in lower case, without folders; empty if it names none"""
    trigger_words: tuple[str, ...]
    images: tuple[tuple[str, str | None], ...]
    """URL and prompt of each cover image; the URLs are not checked"""


def parse_muse_info(value: Any) -> tuple[MuseVersion, ...]:
    """Return the versions of a model's `MuseInfo`; none if it is null or empty.

    Invalid fields of a version count as missing. Raises ValueError if the value is not valid JSON, not an object, or
    longer than MAX_MUSE_CHARS.
    """
    info = _decode(value) if isinstance(value, str) and value.strip() else value
    if info is None or info == "":
        return ()
    if not isinstance(info, Mapping):
        raise ValueError(f"MuseInfo is {short_repr(info)}, expected an object")
    versions = as_list(info.get("versions"))[:MAX_VERSIONS]
    return tuple(_parse_version(version) for version in versions if isinstance(version, Mapping))


def versions_of(versions: Sequence[MuseVersion], path: str, is_only_file: bool) -> list[MuseVersion]:
    """Return the versions that a file of weights belongs to.

    These are the versions that name the file; or, if no version does, those that name no files at all, provided that
    there is only one such version or the file is the model's only file of weights.
    """
    name = path.rpartition("/")[2].lower()
    naming = [version for version in versions if name in version.files]
    unnamed = [version for version in versions if not version.files]
    return naming or (unnamed if is_only_file or len(unnamed) == 1 else [])


def parse_trigger_words(value: Any) -> tuple[str, ...]:
    """Return the trigger words of a list, of a list as JSON text, or of a single text; invalid ones are dropped."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = _decode(value)
        except ValueError:
            return ()
    return tuple(word for word in clean_texts(value) if word.lower() not in NO_WORDS)


def _parse_version(version: Mapping[str, Any]) -> MuseVersion:
    details = _object(version.get("modelVersion"))
    covers = as_list(version.get("coverImages"))[:MAX_IMAGES]
    return MuseVersion(
        files=_file_names(version, details),
        trigger_words=parse_trigger_words(details.get("triggerWords")),
        images=tuple(
            (cover["url"], clean_text(cover.get("prompt")))
            for cover in covers
            if isinstance(cover, Mapping) and isinstance(cover.get("url"), str)
        ),
    )


def _file_names(version: Mapping[str, Any], details: Mapping[str, Any]) -> frozenset[str]:
    """Return the names in `stats.fileList`, which some answers contain as JSON text in `modelVersion`."""
    stats = _object(version.get("stats")) or _object(details.get("stats"))
    names = [name for name in as_list(stats.get("fileList")) if isinstance(name, str)]
    return frozenset(name.rpartition("/")[2].lower() for name in names)


def _object(value: Any) -> Mapping[str, Any]:
    """Return an object, also from JSON text; empty if the value is neither."""
    if isinstance(value, str):
        try:
            value = _decode(value)
        except ValueError:
            return {}
    return value if isinstance(value, Mapping) else {}


def _decode(text: str) -> Any:
    """Return the value of JSON text. Raises ValueError if it is not valid or too long."""
    if len(text) > MAX_MUSE_CHARS:
        raise ValueError(f"MuseInfo has {len(text)} characters, expected at most {MAX_MUSE_CHARS}")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("MuseInfo is not valid JSON: it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"MuseInfo is not valid JSON: {error}") from error
