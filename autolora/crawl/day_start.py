"""The catalog at the start of a day, before the day's first crawl: cache/day_start.jsonl.

A daily budget is measured against it, however often the hubs are crawled: a second crawl of the day has no budget of
its own, and a deferred new version is replaced by the version of this catalog. The file is a cache: if it is lost, or
if the current catalog is neither the input nor the output of the day's last crawl, the current catalog takes its place.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.records import Listing
from autolora.storage.files import read_rows, write_rows
from autolora.storage.hashes import hash_value

logger = logging.getLogger(__name__)


def path(root: Path) -> Path:
    """Return the path of the cache file: a header, then one records.Listing per line."""
    return root / "cache" / "day_start.jsonl"


def read(root: Path, current: Sequence[Listing], today: date) -> Sequence[Listing]:
    """Return the catalog at the start of today.

    current: the current catalog, which is returned if the cache holds no catalog for it and today.
    """
    if not path(root).exists():
        return current
    try:
        header, *rows = read_rows(path(root))
        if header["day"] == today.isoformat() and digest(current) in header["catalogs"]:
            return [Listing.from_row(row) for row in rows]
    except (MissingArtifact, KeyError, TypeError, ValueError) as error:
        logger.info("%s cannot be read (%r): the day starts with the current catalog", path(root), error)
    return current


def write(
    root: Path, catalog_at_day_start: Sequence[Listing], catalogs: Iterable[Sequence[Listing]], today: date
) -> None:
    """Write the catalog at the start of today, which is valid for these catalogs: a crawl's input and its output."""
    header = {"day": today.isoformat(), "catalogs": [digest(listings) for listings in catalogs]}
    write_rows(path(root), [header, *(listing.to_row() for listing in catalog_at_day_start)])


def digest(listings: Iterable[Listing]) -> str:
    """Return the sha256 of a catalog."""
    return hash_value([listing.to_row() for listing in listings])
