"""The catalog at the start of a day, before the day's first crawl: cache/day_start.jsonl.

A daily budget is measured against it, however often the hubs are crawled: a second crawl of the day has no budget of
its own, and a deferred new version is replaced by the version of this catalog. The file is a cache: if it is lost, or
if a file of the current catalog is neither as in the input nor as in the output of the day's last crawl, the current
catalog takes its place. A crawl that is killed while it writes the catalog leaves files of both.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from autolora.catalog.store import contents
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
        if header["day"] == today.isoformat() and digests(current) <= {*header["files"]}:
            return [Listing.from_row(row) for row in rows]
    except (MissingArtifact, KeyError, TypeError, ValueError) as error:
        logger.info("%s cannot be read (%r): the day starts with the current catalog", path(root), error)
    return current


def write(
    root: Path, catalog_at_day_start: Sequence[Listing], catalogs: Iterable[Sequence[Listing]], today: date
) -> None:
    """Write the catalog at the start of today, which is valid for these catalogs: a crawl's input and its output."""
    files = set().union(*map(digests, catalogs))
    header = {"day": today.isoformat(), "files": sorted(files)}
    write_rows(path(root), [header, *(listing.to_row() for listing in catalog_at_day_start)])


def digests(listings: Iterable[Listing]) -> set[str]:
    """Return the sha256 of the text of each file of a catalog."""
    return {hash_value(text) for text in contents(listings).values()}
