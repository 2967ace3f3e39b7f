"""Conditions on text columns as SQL, for LanceDB tables and for the filters of a search."""

from collections.abc import Sequence


def quote(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def is_one_of(column: str, values: Sequence[str]) -> str:
    """Return the condition that a column has one of these texts; without texts, the one that never holds."""
    return f"{column} IN ({', '.join(map(quote, values))})" if values else "false"
