"""The journal of a look that has not ended: what was read of a hub's list, so that a killed crawl goes on.

cache/crawl/<hub>.jsonl, outside git: a head that says which look it is, then a line for each page read and for
each model completed. A look of another day or by other rules begins a new one.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from autolora.hubs import Model, Page
from autolora.records import Listing
from autolora.storage.files import Row, canonical_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Journal:
    """One look's journal."""

    path: Path | None
    """None remembers nothing"""
    head: Row
    """which look it is: what it would not go on from differs in it"""

    def read(self) -> tuple[list[Page], list[Listing]]:
        """Return the pages read and the listings completed; what is of another look, or damaged, is thrown away."""
        if self.path is None or not self.path.exists():
            return [], []
        try:
            head, *rows = self._lines(self.path)
            if head == self.head:
                pages = [_page(row["page"]) for row in rows if "page" in row]
                done = [Listing.from_row(one) for row in rows for one in row.get("done", ())]
                logger.info("%s: going on after %d pages", self.path, len(pages))
                return pages, done
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s cannot be read (%r): the list is read from its beginning", self.path, error)
        self.discard()
        return [], []

    def add_page(self, page: Page) -> None:
        """Remember a page."""
        models = [_model_row(model) for model in page.models]
        told = {"next": page.next, "problems": list(page.problems), "unreadable": sorted(page.unreadable)}
        self._add({"page": {"models": models, **told}})

    def add_done(self, listings: Iterable[Listing]) -> None:
        """Remember what was asked about one model."""
        self._add({"done": [listing.to_row() for listing in listings]})

    def discard(self) -> None:
        """Forget it all."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _add(self, row: Row) -> None:
        """Append a line without waiting for the disk: a journal that is lost costs requests only."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [row] if self.path.exists() else [self.head, row]
        with self.path.open("ab") as stream:
            stream.write("".join(canonical_json(one) + "\n" for one in rows).encode())

    def _lines(self, path: Path) -> list[Row]:
        """Return the rows; a line that a kill has torn is cut off, so that the next one begins where it began."""
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with path.open("ab") as stream:
                stream.truncate(whole)
        return [json.loads(line) for line in data[:whole].splitlines()]


def _model_row(model: Model) -> Row:
    return {
        "id": model.id,
        "version": model.version,
        "updated": model.updated.isoformat(),
        "drafts": [draft.to_row() for draft in model.drafts],
        "withdrawn": model.withdrawn,
    }


def _page(row: Row) -> Page:
    models = (
        Model(
            id=model["id"],
            version=model["version"],
            updated=datetime.fromisoformat(model["updated"]),
            drafts=tuple(Listing.from_row(draft) for draft in model["drafts"]),
            withdrawn=model["withdrawn"],
        )
        for model in row["models"]
    )
    return Page(
        models=tuple(models),
        next=row["next"],
        problems=tuple(row["problems"]),
        unreadable=frozenset(row["unreadable"]),
    )
