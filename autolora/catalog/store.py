"""Reader and writer of data/catalog.jsonl, one records.Listing per line.

The crawl writes the catalog. Later stages read only the catalog and do not query a hub's list.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.records import Listing
from autolora.storage.files import write_rows
from autolora.storage.git import restore_committed


def catalog_path(root: Path) -> Path:
    """Return the path of the catalog."""
    return root / "data" / "catalog.jsonl"


def read_active(root: Path) -> list[Listing]:
    """Return the active listings in the catalog's order: by hub precedence, then by id and file.

    Raises MissingArtifact if the catalog does not exist or a line is not a valid listing; the message names the line.
    """
    return [listing for listing in read_all(root) if listing.is_active]


def read_all(root: Path) -> list[Listing]:
    """Return all listings, including queued and withdrawn ones. Raises MissingArtifact as `read_active` does."""
    path = catalog_path(root)
    if not path.exists():
        raise MissingArtifact(
            f"{path} does not exist: the hubs have not been crawled yet; run `dvc repro crawl`"
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    return [_read_line(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line]


def read_all_or_empty(root: Path) -> list[Listing]:
    """Return all listings, or an empty list if the catalog does not exist.

    Raises MissingArtifact if a line is not a valid listing.
    """
    return read_all(root) if catalog_path(root).exists() else []


def write(root: Path, listings: Iterable[Listing]) -> None:
    """Write the catalog atomically in the given order; leave the file untouched if its content would not change."""
    write_rows(catalog_path(root), (listing.to_row() for listing in listings))


def restore(root: Path) -> bool:
    """Restore a missing catalog from the last commit; return whether the catalog was restored.

    As a dependency lock file does, it fixes what the pool contains: `rm -rf data; dvc repro` reproduces the
    committed pool. A crawl queries the hubs
    only if the file exists, or if git has no committed catalog.
    """
    return restore_committed(root, str(catalog_path(root).relative_to(root)))


def _read_line(path: Path, number: int, line: str) -> Listing:
    try:
        return Listing.from_row(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MissingArtifact(
            f"{path}, line {number} is not a valid listing ({type(error).__name__}: {error}); "
            "restore the file with `git checkout data/catalog.jsonl`"
        ) from error
