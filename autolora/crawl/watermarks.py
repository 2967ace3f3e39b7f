"""How far each hub has been looked at: data/watermarks.json, in git beside the catalog that it belongs to.

It saves requests and decides nothing else: where it is lost, damaged or of another catalog, the next crawl reads
whole lists. It is a file of its own because the catalog cannot tell: entries that the rules leave out move a
hub's watermark too, and nothing in the catalog says when a whole list was last read, or by which rules.
"""

import json
import logging
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from autolora.catalog.store import catalog_path
from autolora.params import CrawlParams
from autolora.storage.files import hash_file, hash_value, write_atomic
from autolora.storage.git import restore_committed

logger = logging.getLogger(__name__)
PATH = "data/watermarks.json"
NO_RULES = ("hubs", "budget", "overlap_h", "sweep_days")
"""fields of the section `crawl` that leave a hub's list as it is"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watermark:
    """How far one hub has been looked at."""

    newest: datetime
    """`updated` of the newest entry that was taken in; an increment goes back to it, and some more"""
    swept: date
    """the day on which its whole list was last read"""
    rules: str
    """digest of the rules it was read by"""


def read(root: Path) -> dict[str, Watermark]:
    """Read the watermarks by hub; none where they are missing, damaged, or not those of the catalog in place."""
    path = root / PATH
    if not path.exists() or not catalog_path(root).exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        marks = {str(hub): _read(row) for hub, row in content["hubs"].items()}
        whose = content["catalog"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s cannot be read (%r): whole lists are read again", path, error)
        return {}
    if whose != hash_file(catalog_path(root)):
        logger.warning("%s is of another catalog: whole lists are read again", path)
        return {}
    return marks


def write(root: Path, marks: dict[str, Watermark]) -> None:
    """Write the watermarks of the catalog in place, atomically."""
    rows = {hub: asdict(mark) | _texts(mark) for hub, mark in marks.items()}
    content = {"catalog": hash_file(catalog_path(root)), "hubs": rows}
    write_atomic(root / PATH, json.dumps(content, indent=2, sort_keys=True) + "\n")


def restore(root: Path) -> None:
    """Put missing watermarks back as committed, where git has some."""
    restore_committed(root, PATH)


def rules_digest(rules: CrawlParams) -> str:
    """Return the digest of what decides which entries of a hub's list are ours."""
    return hash_value({name: value for name, value in asdict(rules).items() if name not in NO_RULES})[:16]


def start(mark: Watermark | None, rules: CrawlParams, today: date) -> datetime | None:
    """Return back to which time an increment has to look; None where the whole list is due."""
    if mark is None or mark.rules != rules_digest(rules):
        return None
    if not 0 <= (today - mark.swept).days < rules.sweep_days:
        return None
    return mark.newest - timedelta(hours=rules.overlap_h)


def end_of(today: date) -> datetime:
    """Return the last second of a day: nothing that a hub dates later moves a watermark."""
    return datetime.combine(today, time(23, 59, 59), UTC)


def _read(row: Any) -> Watermark:
    newest = datetime.strptime(row["newest"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return Watermark(newest=newest, swept=date.fromisoformat(row["swept"]), rules=str(row["rules"]))


def _texts(mark: Watermark) -> dict[str, str]:
    return {"newest": f"{mark.newest:%Y-%m-%dT%H:%M:%SZ}", "swept": mark.swept.isoformat()}
