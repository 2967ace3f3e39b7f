"""What the hubs list and did not give: cache/setbacks.jsonl, a row for each file or picture that the pool lacks.

The stage `pool` writes it down, the next crawl reads it: what is new and could not be had is set aside, so that the
night goes on without it, and asked for again one night later, then two, then four. It is a cache: where it is
lost, everything is asked for again.
"""

import logging
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from autolora.errors import MissingArtifact
from autolora.storage.files import Row, read_rows, write_rows
from autolora.storage.validation import day

MOST_NIGHTS = 16
"""between one try and the next"""
FORGOTTEN = timedelta(days=14)
"""after the day on which it is due; a row that nobody has asked for until then is dropped"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setback:
    """A file or picture that its hub lists and did not give."""

    key: str
    """Listing.key or ListedRendering.key"""
    hub: str
    id: str
    """of the model"""
    name: str
    """the model's and the file's, or the picture's URL"""
    why: str
    had: bool = False
    """the pool has had it, and lost it"""
    nights: int = 1
    """on which it was asked for in vain; 0: it was wanted, and its hub asked for nothing any more"""
    last: date
    """the last night on which it was wanted"""

    @property
    def due(self) -> date:
        """The day on which it is asked for again."""
        return self.last + timedelta(days=min(2 ** max(self.nights - 1, 0), MOST_NIGHTS))

    @property
    def is_file(self) -> bool:
        """Tell a file, which is named by its model, from a picture, which is named by its URL."""
        return self.name.startswith(f"{self.id}/")

    def waits(self, today: date) -> bool:
        """Tell whether it is not to be asked for today; one that is noted for a day to come is."""
        return self.last <= today < self.due

    def to_row(self) -> Row:
        """Return the JSON form."""
        return asdict(self) | {"last": self.last.isoformat()}


def path(root: Path) -> Path:
    """Return where setbacks are noted."""
    return root / "cache" / "setbacks.jsonl"


def read(root: Path) -> dict[str, Setback]:
    """Read the setbacks by key; none where they are missing or damaged."""
    try:
        rows = [Setback(**row | {"last": day(row["last"])}) for row in read_rows(path(root))]
    except (MissingArtifact, KeyError, TypeError, ValueError) as error:
        logger.warning("%s cannot be read (%r): everything is asked for again", path(root), error)
        return {}
    return {row.key: row for row in rows}


def note(root: Path, missing: Iterable[Setback], wanted: Collection[str], today: date) -> None:
    """Write down what was wanted in vain today, once a day; forget what was wanted and has come.

    missing: with the nights of today, 0 or 1, which are added up. wanted: keys of all that was to be in the pool.
    """
    before = read(root)
    rows = {key: row for key, row in before.items() if key not in wanted and today - row.due < FORGOTTEN}
    for row in missing:
        former = before.get(row.key)
        told = former.nights if former else 0
        again = row.nights if former is None or former.last != today else max(row.nights - told, 0)
        rows[row.key] = replace(row, nights=told + again, last=today)
    if rows:
        write_rows(path(root), (rows[key].to_row() for key in sorted(rows)))
    else:
        path(root).unlink(missing_ok=True)
