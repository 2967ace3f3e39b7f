"""The journal of an unfinished scan: the part of a hub's list that was read, so that an interrupted crawl resumes.

The journal is cache/crawl/<hub>.jsonl, not in git: a header that identifies the scan, then one line per page read and
one per model completed. A scan of another day or by other rules does not resume it.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path

from autolora.hubs import Model, Page
from autolora.params import CrawlParams
from autolora.records import Listing
from autolora.storage.files import Row
from autolora.storage.hashes import canonical_json, hash_value

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one scan."""

    path: Path | None
    """None: nothing is recorded"""
    header: Row
    """identifies the scan; a journal with another header is discarded"""

    def read(self) -> tuple[list[Page], list[Listing]]:
        """Return the pages read and the listings completed; discard a journal that is damaged or of another scan."""
        if self.path is None or not self.path.exists():
            return [], []
        try:
            header, *rows = self._rows(self.path)
            if header == self.header:
                pages = [_page_from_row(row["page"]) for row in rows if "page" in row]
                completed = [
                    Listing.from_row(listing) for row in rows for listing in row.get("completed", ())
                ]
                logger.info("%s: resuming after %d pages", self.path, len(pages))
                return pages, completed
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s cannot be read (%r): the list is read from the start", self.path, error)
        self.discard()
        return [], []

    def add_page(self, page: Page) -> None:
        """Record a page."""
        row = {
            "models": [_model_to_row(model) for model in page.models],
            "next": page.next,
            "problems": list(page.problems),
            "unreadable": sorted(page.unreadable),
            "is_truncated": page.is_truncated,
        }
        self._append({"page": row})

    def add_completed(self, listings: Iterable[Listing]) -> None:
        """Record the complete listings of one model."""
        self._append({"completed": [listing.to_row() for listing in listings]})

    def discard(self) -> None:
        """Delete the journal."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _append(self, row: Row) -> None:
        """Append a line without waiting for the disk: a lost line only costs requests."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [row] if self.path.exists() else [self.header, row]
        with self.path.open("ab") as stream:
            stream.write("".join(canonical_json(line) + "\n" for line in rows).encode())

    def _rows(self, path: Path) -> list[Row]:
        """Return the rows; truncate a last line that was cut off by a kill, so that the next line starts cleanly."""
        data = path.read_bytes()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            with path.open("ab") as stream:
                stream.truncate(end)
        return [json.loads(line) for line in data[:end].splitlines()]


def open_journal(
    root: Path, hub: str, rules: CrawlParams, today: date, since: datetime | None, write_journal: bool
) -> Journal:
    """Return the journal of a scan; without `write_journal` a journal that records nothing."""
    header = {
        "hub": hub,
        "day": today.isoformat(),
        "rules": hash_value(asdict(rules)),
        "since": since and since.isoformat(),
    }
    return Journal(root / "cache" / "crawl" / f"{hub}.jsonl" if write_journal else None, header)


def _model_to_row(model: Model) -> Row:
    return {
        "id": model.id,
        "version": model.version,
        "updated": model.updated.isoformat(),
        "listings": [listing.to_row() for listing in model.partial_listings],
        "withdrawn": model.withdrawn,
        "author": model.author,
    }


def _page_from_row(row: Row) -> Page:
    models = (
        Model(
            id=model["id"],
            version=model["version"],
            updated=datetime.fromisoformat(model["updated"]),
            partial_listings=tuple(Listing.from_row(listing) for listing in model["listings"]),
            withdrawn=model["withdrawn"],
            author=model["author"],
        )
        for model in row["models"]
    )
    return Page(
        models=tuple(models),
        next=row["next"],
        problems=tuple(row["problems"]),
        unreadable=frozenset(row["unreadable"]),
        is_truncated=row["is_truncated"],
    )
