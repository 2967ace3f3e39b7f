"""Conditions on the columns of the index as SQL text, which autolora.index.filters evaluates."""

from collections.abc import Sequence


def quote(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def any_of(column: str, values: Sequence[str] | None) -> str | None:
    """Return the condition that a column has one of these texts; None without a text."""
    return f"{column} IN ({', '.join(map(quote, values))})" if values else None


def is_set(column: str, wanted: bool | None) -> str | None:
    """Return the condition that a flag is known and as wanted; None if either will do."""
    return None if wanted is None else column if wanted else f"NOT {column}"
