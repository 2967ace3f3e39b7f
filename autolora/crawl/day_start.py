"""The eve of a day: the catalog as the day's first crawl found it, in cache/eve.jsonl.

What a day may bring is measured against it, however often the hubs are looked at: a second crawl has no second budget,
and what it sets aside gives way to what was there before. It is a cache: where it is lost, or the catalog in place is
not what the day's last crawl found or wrote, the catalog in place is the eve.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.records import Listing
from autolora.storage.files import hash_value, read_rows, write_rows

logger = logging.getLogger(__name__)


def path(root: Path) -> Path:
    """Return where the eve lies: a head, then one records.Listing a line."""
    return root / "cache" / "eve.jsonl"


def read(root: Path, in_place: Sequence[Listing], today: date) -> Sequence[Listing]:
    """Return the catalog's rows as today's first crawl found them.

    in_place: the rows of the catalog in place, which are returned where there is no other eve.
    """
    try:
        head, *rows = read_rows(path(root))
        if head["day"] == today.isoformat() and digest(in_place) in head["catalogs"]:
            return [Listing.from_row(row) for row in rows]
    except (MissingArtifact, KeyError, TypeError, ValueError) as error:
        logger.info("%s cannot be read (%r): the catalog in place is the eve", path(root), error)
    return in_place


def write(root: Path, eve: Sequence[Listing], catalogs: Iterable[Sequence[Listing]], today: date) -> None:
    """Keep the eve of these catalogs: the one in place, and the one that is to be written after this."""
    head = {"day": today.isoformat(), "catalogs": [digest(rows) for rows in catalogs]}
    write_rows(path(root), [head, *(row.to_row() for row in eve)])


def digest(rows: Iterable[Listing]) -> str:
    """Return the sha256 of a catalog's rows."""
    return hash_value([row.to_row() for row in rows])
