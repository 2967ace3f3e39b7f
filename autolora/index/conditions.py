"""The conditions that the options of a search stand for, as SQL text, which autolora.index.filters evaluates."""

from collections.abc import Sequence

from autolora.storage.sql import is_one_of


def any_of(column: str, values: Sequence[str] | None) -> str | None:
    """Return the condition that a column has one of these texts; None without a text."""
    return is_one_of(column, values) if values else None


def is_set(column: str, wanted: bool | None) -> str | None:
    """Return the condition that a flag is known and as wanted; None if either will do."""
    return None if wanted is None else column if wanted else f"NOT {column}"
