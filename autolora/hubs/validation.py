"""Claims: what a hub says, a stranger's JSON, with every type checked, number bounded and text cleaned."""

import datetime
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

REPO_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}")
EARLIEST = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
LATEST = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
MILLISECONDS = 1e11
"""a number of seconds since 1970 above this one (the year 5138) counts milliseconds"""
WEIGHTS = ".safetensors"
PICTURES = (".png", ".jpg", ".jpeg", ".webp")
MAX_COUNT = 1 << 53
MAX_PATH = 500
MAX_TEXT = 2000
MAX_TEXTS = 20


def clean(text: Any) -> str | None:
    """Return a hub's text on one line, without what cannot be printed; None where nothing is left."""
    if not isinstance(text, str):
        return None
    words = "".join(sign if sign.isprintable() else " " for sign in text[:MAX_TEXT]).split()
    return " ".join(words) or None


def clean_all(value: Any) -> tuple[str, ...]:
    """Return the texts of a list, or the one text, cleaned, each once, at most MAX_TEXTS."""
    texts = (clean(text) for text in listed(value)[:MAX_TEXTS])
    return tuple(dict.fromkeys(text for text in texts if text))


def glimpse(value: Any) -> str:
    """Return the beginning of any value, to be shown in a message."""
    try:
        return repr(value)[:100]
    except RecursionError:
        return f"a very deep {type(value).__name__}"


def listed(value: Any) -> list[Any]:
    """Return a list as it is, anything else as a list of one, null as an empty one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def tagged(tags: Iterable[Any], prefix: str) -> str | None:
    """Return what follows a prefix in the first of some tags that has it, cleaned."""
    texts = (tag for tag in tags if isinstance(tag, str))
    return clean(next((tag.removeprefix(prefix) for tag in texts if tag.startswith(prefix)), None))


def is_safe(path: Any) -> TypeGuard[str]:
    """Tell whether a file name from a hub is a plain relative path."""
    return (
        isinstance(path, str)
        and 0 < len(path) <= MAX_PATH
        and path.isprintable()
        and "\\" not in path
        and not any(part in ("", ".", "..") for part in path.split("/"))
    )


def is_repo_id(value: Any) -> TypeGuard[str]:
    """Tell whether a value is the `owner/name` of a repository."""
    return isinstance(value, str) and bool(REPO_ID.fullmatch(value)) and ".." not in value


def told_repo(item: Any) -> frozenset[str]:
    """Return the id of a repository that may be unreadable otherwise; nothing where it tells none."""
    repo_id = item.get("id") if isinstance(item, Mapping) else None
    return frozenset({repo_id} if is_repo_id(repo_id) else ())


def is_weights(path: str) -> bool:
    """Tell whether a file may hold LoRA weights, by its name."""
    return path.lower().endswith(WEIGHTS)


def is_picture(path: str) -> bool:
    """Tell whether a file may be a rendering, by its name."""
    return path.lower().endswith(PICTURES)


def count(value: Any) -> int | None:
    """Return a number of bytes, downloads or the like; None where it is not a whole one from 0 to 2^53."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def flag(value: Any) -> bool | None:
    """Return a truth value; None where it is none."""
    return value if isinstance(value, bool) else None


GATES = ("auto", "manual")
"""in which ways a gate is opened: at once for whoever asks, or by its owner"""


def is_set(entry: Mapping[str, Any], *names: str) -> bool:
    """Tell whether one of the fields closes an entry: true, or how it is gated; null and false do not.

    Raises ValueError where one is anything else: it may not be taken for a withdrawal.
    """
    values = [entry.get(name) for name in names]
    if odd := [value for value in values if not isinstance(value, bool | None) and value not in GATES]:
        raise ValueError(f"one of {', '.join(names)} is {glimpse(odd[0])}, which says neither yes nor no")
    return any(values)


def sha256(value: Any) -> str | None:
    """Return a sha256 in lower case; None where it is none."""
    text = value.lower() if isinstance(value, str) and len(value) == 64 else ""
    return text if SHA256.fullmatch(text) else None


def moment(value: Any) -> datetime.datetime | None:
    """Return a time in UTC from ISO 8601 text (UTC where it names no zone) or from (milli)seconds since 1970.

    None where it is none, or not in this century.
    """
    try:
        if isinstance(value, str) and len(value) <= 40:
            found = datetime.datetime.fromisoformat(value)
            found = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        elif type(value) in (int, float) and math.isfinite(value):
            found = datetime.datetime.fromtimestamp(
                value / 1000 if value > MILLISECONDS else value, datetime.UTC
            )
        else:
            return None
        found = found.astimezone(datetime.UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return found if EARLIEST <= found < LATEST else None


def stamp(time: datetime.datetime) -> str:
    """Return a time in UTC as the catalog writes it, `YYYY-MM-DDTHH:MM:SSZ`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
