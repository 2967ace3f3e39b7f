"""Warnings about values of filters that no adapter of the index has."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from autolora.storage.suggestions import did_you_mean

if TYPE_CHECKING:
    from autolora.index.copies import Index

MAX_LISTED = 12
"""different values that a warning lists"""


def warn_of_unknown_values(index: "Index", wanted: Mapping[str, Sequence[str] | None]) -> None:
    """Print a line to stderr per value that no adapter has: the search then finds nothing by it.

    wanted: column -> values of its option; None if the option is not given.
    """
    for column, values in wanted.items():
        for line in _warnings(index, column, values or ()):
            print(line, file=sys.stderr)


def _warnings(index: "Index", column: str, values: Sequence[str]) -> Iterator[str]:
    if not values:
        return
    known = sorted(filter(None, index.rows.columns.column(column).unique().to_pylist()))
    for value in values:
        if value not in known:
            listed = f"; those of the index are {', '.join(known)}" if len(known) <= MAX_LISTED else ""
            yield f"no adapter has the {column} '{value}'{did_you_mean(value, known)}{listed}"
