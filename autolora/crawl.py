"""The stage `crawl`: what the hubs list today becomes the catalog, which says what the pool is."""

import datetime
import json
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from autolora.errors import HubError, MissingArtefact
from autolora.files import write_rows
from autolora.hubs import Hub, selected
from autolora.params import CrawlParams
from autolora.records import Listing
from autolora.revisions import restore_committed

logger = logging.getLogger(__name__)


def catalog_path(root: Path) -> Path:
    """Return where the catalog lies."""
    return root / "data" / "catalog.jsonl"


def catalog(root: Path) -> list[Listing]:
    """Read the catalog.

    Raises MissingArtefact when there is none, or when a line (named) is no listing.
    """
    path = catalog_path(root)
    if not path.exists():
        raise MissingArtefact(f"{path} does not exist: no hub has been looked at yet; run `dvc repro crawl`")
    text = path.read_text(encoding="utf-8", errors="replace")
    return [_read_line(path, number, line) for number, line in enumerate(text.split("\n"), 1) if line]


def restore(root: Path) -> bool:
    """Put a missing catalog back as committed, and return whether that was done.

    The catalog is a lock: `rm -rf data; dvc repro` repeats the past. A refresh, the file in place, looks anew.
    """
    return restore_committed(root, str(catalog_path(root).relative_to(root)))


def look(root: Path, hub: Hub, rules: CrawlParams, today: datetime.date) -> list[Listing]:
    """Return what one hub lists today; what the old catalog knows is not asked about again.

    Raises HubError when the hub cannot be reached, answers nonsense, or lists nothing where it used to.
    """
    old = catalog(root) if catalog_path(root).exists() else []
    known = [listing for listing in old if listing.hub == hub.name]
    try:
        found = list(hub.listings(rules, known, today))
    except HubError as error:
        raise HubError(f"{error} (the catalog was not changed)") from error
    if known and not found:
        raise HubError(
            f"hub {hub.name} lists nothing where it listed {len(known)} files; the catalog was not changed. "
            f"Check the hub and crawl.filters; where this is right, delete {catalog_path(root)}"
        )
    logger.info("hub %s: %d files listed, %d before", hub.name, len(found), len(known))
    return found


def write(root: Path, found: Iterable[Listing], rules: CrawlParams) -> list[Listing]:
    """Write the catalog from what all hubs list, sorted by hub, id and file, atomically; return it.

    The old catalog gives a file that it knows its first day; what the rules exclude is left out.
    """
    old = catalog(root) if catalog_path(root).exists() else []
    first_seen = {}
    for listing in sorted(old, key=lambda listing: listing.first_seen, reverse=True):
        first_seen[listing.key] = listing.first_seen
    chosen = {
        (listing.hub, listing.id, listing.file): _dated(listing, first_seen.get(listing.key))
        for listing in found
        if selected(listing, rules)
    }
    listings = [chosen[place] for place in sorted(chosen)]
    write_rows(catalog_path(root), (listing.to_row() for listing in listings))
    return listings


def _dated(listing: Listing, first_seen: datetime.date | None) -> Listing:
    return listing if first_seen is None else replace(listing, first_seen=first_seen)


def _read_line(path: Path, number: int, line: str) -> Listing:
    try:
        return Listing.from_row(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingArtefact(
            f"{path}, line {number} is no listing ({type(error).__name__}: {error}); "
            "restore the file with `git checkout data/catalog.jsonl` or crawl again"
        ) from error
