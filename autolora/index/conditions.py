"""What a filter can name, and the conditions that the options of a search stand for.

They are SQL text, which autolora.index.filters evaluates.
"""

from collections.abc import Sequence

from autolora.storage.sql import is_one_of

FILTER_COLUMNS = (
    "hub", "id", "file", "license", "commercial", "derivatives", "nsfw", "nsfw_level", "person", "base", "base_model",
    "trigger_words", "family", "split", "first_seen", "layout", "num_slots", "rank_max", "size", "warnings", "sha256",
)  # fmt: skip
"""what a condition can name; docs/howto/search.md says what each means"""


def any_of(column: str, values: Sequence[str] | None) -> str | None:
    """Return the condition that a column has one of these texts; None without a text."""
    return is_one_of(column, values) if values else None


def is_set(column: str, wanted: bool | None) -> str | None:
    """Return the condition that a flag is known and as wanted; None if either will do."""
    return None if wanted is None else column if wanted else f"NOT {column}"
