"""Checks of untrusted JSON values: field names, exact types, ranges, and valid Unicode text."""

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import Any

from autolora.storage.files import Row

MAX_NUMBER = 2**63 - 1
SHA256 = re.compile(r"[0-9a-f]{64}")
"""a sha256 in lower-case hex digits"""

FieldTypes = Mapping[str, tuple[type, ...]]
"""field -> exact types that its value may have"""


def checked_object(value: object, types: FieldTypes) -> Row:
    """Return a copy of a JSON object after checking its fields.

    Raises KeyError for an unknown field, TypeError for a wrong type, and ValueError for an integer outside
    0..MAX_NUMBER or a string that is not valid Unicode (half of a surrogate pair).
    """
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, got {str(value)[:50]!r}")
    for name, item in value.items():
        if type(item) not in types[name]:
            raise TypeError(f"{name} may not be {str(item)[:50]!r}")
        if type(item) is str:
            item.encode()
        if type(item) is int and not 0 <= item <= MAX_NUMBER:
            raise ValueError(f"{name} may not be {str(item)[:50]}")
    return dict(value)


def strings(values: Iterable[Any]) -> tuple[str, ...]:
    """Return the values as a tuple of strings.

    Raises TypeError if a value is not a string, ValueError if one is not valid Unicode.
    """
    items = tuple(values)
    for item in items:
        if type(item) is not str:
            raise TypeError(f"expected a string, got {str(item)[:50]!r}")
        item.encode()
    return items


def check_choice(value: Any, allowed: tuple[str, ...]) -> None:
    """Raise ValueError if a value is neither None nor one of `allowed`."""
    if value is not None and value not in allowed:
        raise ValueError(f"{str(value)[:50]!r} is not one of {', '.join(allowed)}")


def check_sha256(*values: str | None) -> None:
    """Raise ValueError if a value is neither None nor a sha256 (64 lower-case hex digits)."""
    for value in values:
        if value is not None and not SHA256.fullmatch(value):
            raise ValueError(f"{value[:70]!r} is not a sha256 (64 lower-case hex digits)")


def parse_date(text: str | None) -> datetime.date | None:
    """Return the date written as YYYY-MM-DD, or None for None. Raises ValueError if it is not a date."""
    return None if text is None else datetime.date.fromisoformat(text)
