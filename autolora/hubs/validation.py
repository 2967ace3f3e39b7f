"""Validation of untrusted JSON values from hubs: types are checked, numbers bounded, texts cleaned."""

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

REPO_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
EARLIEST = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
LATEST = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
MIN_MILLISECONDS = 1e11
"""a Unix time above this (the year 5138 in seconds) is in milliseconds"""
WEIGHTS_SUFFIX = ".safetensors"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
GATED_VALUES = ("auto", "manual")
"""values of `gated`: access is granted automatically, or by the owner"""
PRIVATE_PATH = re.compile(
    r"(?<![A-Za-z])[A-Za-z]:[\\/]"  # C:\ or C:/
    r"|\\\\[^\s\\]"  # \\server\share
    r"|\bfile:"
    r"|(?<![^\s\"'`(\[{<=,;|])~?/[^\s/]+/"  # /home/name/, /mnt/…, ~/…; not in 《A》/《B》/
    r"|(?<!\w)~[\\/]"
)
EMOJI = r"[\ufe0f\u2190-\u2bff\U0001f000-\U0001faff]"
JOINER = re.compile(rf"(?<={EMOJI})\u200d(?={EMOJI})")
"""zero-width joiner within an emoji, such as a family"""
MAX_COUNT = 1 << 53
MAX_PATH = 500
MAX_TEXT = 2000
MAX_TEXTS = 20


def clean_text(text: Any) -> str | None:
    """Return a text on one line, printable and at most MAX_TEXT long; None if nothing remains."""
    if not isinstance(text, str):
        return None
    words = "".join(char if char.isprintable() else " " for char in text[:MAX_TEXT]).split()
    return " ".join(words) or None


def clean_texts(value: Any) -> tuple[str, ...]:
    """Return the cleaned texts of a list or of a single text, without duplicates, at most MAX_TEXTS."""
    texts = (clean_text(text) for text in as_list(value)[:MAX_TEXTS])
    return tuple(dict.fromkeys(text for text in texts if text))


def is_private(value: str) -> bool:
    """Return whether a text contains a path of a machine."""
    return PRIVATE_PATH.search(value) is not None


def short_repr(value: Any) -> str:
    """Return the first 100 characters of a value's repr, for messages."""
    try:
        return repr(value)[:100]
    except RecursionError:
        return f"a very deep {type(value).__name__}"


def as_list(value: Any) -> list[Any]:
    """Return a list unchanged, null as an empty list, and any other value as a list with one item."""
    return value if isinstance(value, list) else [] if value is None else [value]


def tag_value(tags: Iterable[Any], prefix: str) -> str | None:
    """Return the cleaned remainder of the first tag that starts with `prefix`; None without such a tag."""
    texts = (tag for tag in tags if isinstance(tag, str))
    return clean_text(next((tag.removeprefix(prefix) for tag in texts if tag.startswith(prefix)), None))


def is_safe_path(path: Any) -> TypeGuard[str]:
    """Return whether a file name from a hub is a printable relative path without `.` and `..` segments.

    Emoji may be joined; other characters that are not seen could make two names look equal, or change their direction.
    """
    return (
        isinstance(path, str)
        and 0 < len(path) <= MAX_PATH
        and JOINER.sub("", path).isprintable()
        and "\\" not in path
        and not any(segment in ("", ".", "..") for segment in path.split("/"))
    )


def is_repo_id(value: Any) -> TypeGuard[str]:
    """Return whether a value is a valid `owner/name` of a repository."""
    return isinstance(value, str) and bool(REPO_ID.fullmatch(value)) and ".." not in value


def repo_id_or_empty(item: Any) -> frozenset[str]:
    """Return the id of an otherwise unreadable repository as a set; empty if the id is not valid."""
    repo_id = item.get("id") if isinstance(item, Mapping) else None
    return frozenset({repo_id} if is_repo_id(repo_id) else ())


def is_weights(path: str) -> bool:
    """Return whether a file name ends like a file of LoRA weights."""
    return path.lower().endswith(WEIGHTS_SUFFIX)


def is_image(path: str) -> bool:
    """Return whether a file name ends like an image."""
    return path.lower().endswith(IMAGE_SUFFIXES)


def valid_count(value: Any) -> int | None:
    """Return an integer from 0 to 2^53, such as bytes or downloads; None for any other value."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def valid_bool(value: Any) -> bool | None:
    """Return true or false; None for any other value."""
    return value if isinstance(value, bool) else None


def is_restricted(entry: Mapping[str, Any], *fields: str) -> bool:
    """Return whether one of the named fields restricts access to an entry: it is true or one of GATED_VALUES.

    Raises ValueError if a field is neither a boolean, null, nor one of GATED_VALUES: a damaged value must not
    count as a withdrawal.
    """
    values = [entry.get(field) for field in fields]
    invalid = [value for value in values if not isinstance(value, bool | None) and value not in GATED_VALUES]
    if invalid:
        raise ValueError(
            f"one of {', '.join(fields)} is {short_repr(invalid[0])}, expected true, false, null, "
            f"{' or '.join(GATED_VALUES)}"
        )
    return any(values)


def valid_sha256(value: Any) -> str | None:
    """Return a sha256 as 64 lower-case hex digits; None for any other value."""
    text = value.lower() if isinstance(value, str) and len(value) == 64 else ""
    return text if SHA256.fullmatch(text) else None


def parse_time(value: Any) -> datetime.datetime | None:
    """Return a time in UTC from ISO 8601 text (UTC if it has no zone) or from Unix seconds or milliseconds.

    None if the value is not a time or lies outside of EARLIEST to LATEST.
    """
    try:
        if isinstance(value, str) and len(value) <= 40:
            time = datetime.datetime.fromisoformat(value)
            time = time if time.tzinfo else time.replace(tzinfo=datetime.UTC)
        elif type(value) in (int, float) and math.isfinite(value):
            seconds = value / 1000 if value > MIN_MILLISECONDS else value
            time = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        else:
            return None
        time = time.astimezone(datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return time if EARLIEST <= time < LATEST else None


def format_time(time: datetime.datetime) -> str:
    """Return a UTC time in the catalog's format, `YYYY-MM-DDTHH:MM:SSZ`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
