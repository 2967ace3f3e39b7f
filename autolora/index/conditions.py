"""What a filter can name, and the conditions that the options of a search stand for.

They are SQL text, which autolora.index.filters evaluates.
"""

import datetime
from collections.abc import Sequence

from autolora.storage.sql import is_one_of

FILTER_COLUMNS = (
    "hub", "id", "file", "license", "commercial", "derivatives", "nsfw", "nsfw_level", "person", "base", "base_model",
    "trigger_words", "family", "split", "first_seen", "layout", "num_slots", "rank_max", "size", "warnings", "drawn",
    "sha256",
)  # fmt: skip
"""what a condition can name; docs/howto/search.md says what each means"""


def any_of(column: str, values: Sequence[str] | None) -> str | None:
    """Return the condition that a column has one of these texts; None without a text."""
    return is_one_of(column, values) if values else None


def is_set(column: str, wanted: bool | None) -> str | None:
    """Return the condition that a flag is known and as wanted; None if either will do."""
    return None if wanted is None else column if wanted else f"NOT {column}"


def of_options(
    *,
    licenses: Sequence[str] | None = None,
    may_sell: bool = False,
    derivatives: bool = False,
    bases: Sequence[str] | None = None,
    hubs: Sequence[str] | None = None,
    max_rank: int | None = None,
    max_mb: float | None = None,
    since: datetime.date | None = None,
) -> list[str]:
    """Return the conditions that the options of a search stand for; an option with its default value has none.

    may_sell, derivatives: whether the permission is required. max_mb: in 10^6 bytes.
    """
    conditions = (
        any_of("license", licenses),
        is_set("commercial", may_sell or None),
        is_set("derivatives", derivatives or None),
        any_of("base", bases),
        any_of("hub", hubs),
        None if max_rank is None else f"rank_max <= {max_rank}",
        None if max_mb is None else f"size <= {max_mb * 1e6:.0f}",
        None if since is None else f"first_seen >= DATE '{since.isoformat()}'",
    )
    return [condition for condition in conditions if condition is not None]
