"""The eve of a day: the catalog as the day's first crawl found it, in cache/eve.jsonl.

What a day may bring is measured against it, however often the hubs are looked at: a second crawl has no second budget,
and what it sets aside gives way to what was there before. It is a cache: where it is lost, or the catalog in place is
not the one that the day's last crawl wrote, the catalog in place is the eve.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from autolora import catalog
from autolora.errors import MissingArtefact
from autolora.files import hash_file, read_rows, write_rows
from autolora.records import Listing

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
        if head == _head(root, today):
            return [Listing.from_row(row) for row in rows]
    except (MissingArtefact, KeyError, TypeError, ValueError) as error:
        logger.info("%s cannot be read (%r): the catalog in place is the eve", path(root), error)
    return in_place


def write(root: Path, rows: Iterable[Listing], today: date) -> None:
    """Keep the eve, for the catalog in place, which today's crawl has written."""
    write_rows(path(root), [_head(root, today), *(row.to_row() for row in rows)])


def _head(root: Path, today: date) -> dict[str, str | None]:
    """Return what tells whether an eve is that of the catalog in place."""
    place = catalog.catalog_path(root)
    return {"day": today.isoformat(), "catalog": hash_file(place) if place.exists() else None}
