"""A sidecar: NAME.json beside NAME.safetensors says what a hub would say, checked field by field."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from autolora.hubs.validation import clean, clean_all, flag, glimpse, is_picture, is_safe
from autolora.records import NSFW_LEVELS

MAX_SIDECAR = 1 << 20
"""bytes"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A picture that a sidecar names."""

    path: str
    """safe, relative to the sidecar's folder"""
    prompt: str | None = None
    nsfw_level: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """What a sidecar says; None = not said."""

    license: str | None = None
    base_model: str | None = None
    trigger_words: tuple[str, ...] | None = None
    nsfw_level: str | None = None
    person: bool | None = None
    minor: bool | None = None
    renderings: tuple[Picture, ...] | None = None


def read_sidecar(text: bytes) -> tuple[Sidecar, tuple[str, ...]]:
    """Return what a sidecar says, and which of its fields say nothing usable.

    Raises ValueError where it is no JSON object at all, or where what keeps people safe cannot be read.
    """
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, Mapping):
        raise ValueError(f"it must be a JSON object, not {glimpse(found)}")
    said: dict[str, Any] = {}
    problems = [f"{glimpse(name)} is none of {', '.join(CHECKS)}" for name in found if name not in CHECKS]
    for name, (check, wanted) in CHECKS.items():
        if (value := found.get(name)) is not None:
            said[name] = check(value)
            if said[name] is None and name in SAFETY:
                raise ValueError(f"{name} must be {wanted}, not {glimpse(value)}")
            if said[name] is None:
                problems.append(f"{name} must be {wanted}, not {glimpse(value)}")
    return Sidecar(**said), tuple(problems)


def _level(value: Any) -> str | None:
    return value if isinstance(value, str) and value in NSFW_LEVELS else None


def _words(value: Any) -> tuple[str, ...] | None:
    return clean_all(value) if isinstance(value, list) else None


def _pictures(value: Any) -> tuple[Picture, ...] | None:
    """Read paths, or objects with a path; None where one of them is neither."""
    pictures = [_picture(one) for one in value] if isinstance(value, list) else [None]
    usable = tuple(picture for picture in pictures if picture)
    return usable if len(usable) == len(pictures) else None


def _picture(value: Any) -> Picture | None:
    entry = value if isinstance(value, Mapping) else {"path": value}
    path = entry.get("path")
    if not isinstance(path, str) or not is_safe(path) or not is_picture(path):
        return None
    return Picture(path=path, prompt=clean(entry.get("prompt")), nsfw_level=_level(entry.get("nsfw_level")))


SAFETY = ("nsfw_level", "person", "minor")
"""fields that rules may refuse a file by: where one says nothing usable, the file is passed over"""
CHECKS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "license": (clean, "text"),
    "base_model": (clean, "text"),
    "trigger_words": (_words, "a list of texts"),
    "nsfw_level": (_level, f"one of {', '.join(NSFW_LEVELS)}"),
    "person": (flag, "true or false"),
    "minor": (flag, "true or false"),
    "renderings": (
        _pictures,
        "a list of relative paths of pictures, or of objects with path, prompt, nsfw_level",
    ),
}
