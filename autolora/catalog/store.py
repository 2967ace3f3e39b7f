"""The catalog: data/catalog.jsonl, the lock that says what the pool is. One records.Listing a line; what a crawl
writes down, and all that the later stages see of the hubs."""

import json
from collections.abc import Iterable
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.records import Listing
from autolora.storage.files import write_rows
from autolora.storage.git import restore_committed


def catalog_path(root: Path) -> Path:
    """Return where the catalog lies."""
    return root / "data" / "catalog.jsonl"


def catalog(root: Path) -> list[Listing]:
    """Read what goes down the road, in the catalog's order: hubs by precedence, then id and file.

    Raises MissingArtifact when there is no catalog, or when a line (named) is no listing.
    """
    return [listing for listing in entries(root) if listing.on_the_road]


def entries(root: Path) -> list[Listing]:
    """Read every line, what is queued or withdrawn included. Raises as `catalog`."""
    path = catalog_path(root)
    if not path.exists():
        raise MissingArtifact(f"{path} does not exist: no hub has been looked at yet; run `dvc repro crawl`")
    text = path.read_text(encoding="utf-8", errors="replace")
    return [_read_line(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line]


def known(root: Path) -> list[Listing]:
    """Read every line; none where there is no catalog yet. Raises MissingArtifact when a line is no listing."""
    return entries(root) if catalog_path(root).exists() else []


def write(root: Path, listings: Iterable[Listing]) -> None:
    """Write the catalog in the order given, atomically; one that would not change is left alone."""
    write_rows(catalog_path(root), (listing.to_row() for listing in listings))


def restore(root: Path) -> bool:
    """Put a missing catalog back as committed, and return whether that was done.

    The catalog is a lock: `rm -rf data; dvc repro` repeats the past. A refresh, the file in place, looks anew.
    """
    return restore_committed(root, str(catalog_path(root).relative_to(root)))


def _read_line(path: Path, number: int, line: str) -> Listing:
    try:
        return Listing.from_row(json.loads(line))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MissingArtifact(
            f"{path}, line {number} is no listing ({type(error).__name__}: {error}); "
            "restore the file with `git checkout data/catalog.jsonl` or crawl again"
        ) from error
