"""Rows from outside: JSON objects whose names, types and texts are checked before anything is made of them."""

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any

from autolora.storage.files import Row

MAX_NUMBER = 2**63 - 1
SHA256 = re.compile(r"[0-9a-f]{64}")

Kinds = Mapping[str, tuple[type, ...]]
"""field -> the exact types that its value may have"""


def checked(value: object, kinds: Kinds) -> Row:
    """Return a JSON object whose fields are all known and of one of their exact types, its texts writable.

    Raises KeyError for an unknown field, TypeError for another type, ValueError for a number below 0 or beyond all
    measure, or a text that is no Unicode (half of a surrogate pair).
    """
    if not isinstance(value, dict):
        raise TypeError(f"an object is needed, not {str(value)[:50]!r}")
    for name, item in value.items():
        if type(item) not in kinds[name]:
            raise TypeError(f"{name} may not be {str(item)[:50]!r}")
        if type(item) is str:
            item.encode()
        if type(item) is int and not 0 <= item <= MAX_NUMBER:
            raise ValueError(f"{name} may not be {str(item)[:50]}")
    return dict(value)


def texts(values: Iterable[Any]) -> tuple[str, ...]:
    """Return a list's texts; TypeError where something else is among them, ValueError where one is no Unicode."""
    found = tuple(values)
    for text in found:
        if type(text) is not str:
            raise TypeError(f"a text is needed, not {str(text)[:50]!r}")
        text.encode()
    return found


def one_of(value: Any, allowed: tuple[str, ...]) -> None:
    """Raise ValueError where a value is said and is none of those allowed."""
    if value is not None and value not in allowed:
        raise ValueError(f"{str(value)[:50]!r} is none of {', '.join(allowed)}")


def hashes(*values: str | None) -> None:
    """Raise ValueError where a value is said and is no sha256 (64 hex digits)."""
    for value in values:
        if value is not None and not SHA256.fullmatch(value):
            raise ValueError(f"{value[:70]!r} is no sha256")


def day(text: str | None) -> datetime.date | None:
    """Read YYYY-MM-DD; None where nothing is said; ValueError where it is no date."""
    return None if text is None else datetime.date.fromisoformat(text)
