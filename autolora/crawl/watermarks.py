"""The watermarks: data/watermarks.json, how far each hub's list has been read.

The file is in git beside the catalog that it belongs to. Watermarks only save requests: if the file is lost, damaged
or belongs to another catalog, the next crawl reads the whole lists. The catalog cannot replace it, because rejected
listings advance a watermark too and the catalog does not record when, and by which rules, a whole list was last read.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from autolora.catalog import store as catalog
from autolora.params import CrawlParams
from autolora.storage.files import write_atomic
from autolora.storage.git import restore_committed
from autolora.storage.hashes import hash_value

logger = logging.getLogger(__name__)
PATH = "data/watermarks.json"
NOT_RULES = ("hubs", "max_new_files", "min_free_gb", "overlap_h", "full_scan_every_days")
"""fields of the section `crawl` that do not decide which listings of a hub are admitted or withdrawn"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watermark:
    """How far one hub's list has been read."""

    newest: datetime
    """`updated` of the newest entry that was read; an incremental scan goes back to it, less crawl.overlap_h"""
    last_full_scan: date
    """the day on which the whole list was last read"""
    rules: str
    """digest of the rules that the list was read by"""


def read(root: Path) -> dict[str, Watermark]:
    """Return the watermarks by hub; none if the file is missing, damaged, or belongs to another catalog.

    Raises MissingArtifact if a file of the catalog is missing.
    """
    path = root / PATH
    if not path.exists() or not catalog.catalog_files(root):
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        marks = {str(hub): _from_row(row) for hub, row in content["hubs"].items()}
        catalog_hash = content["catalog"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s cannot be read (%r): the whole lists are read again", path, error)
        return {}
    if catalog_hash != catalog.digest(root):
        logger.warning("%s belongs to another catalog: the whole lists are read again", path)
        return {}
    return marks


def write(root: Path, marks: Mapping[str, Watermark]) -> None:
    """Write the watermarks of the current catalog atomically."""
    rows = {hub: asdict(mark) | _texts(mark) for hub, mark in marks.items()}
    content = {"catalog": catalog.digest(root), "hubs": rows}
    write_atomic(root / PATH, json.dumps(content, indent=2, sort_keys=True) + "\n")


def restore(root: Path) -> None:
    """Restore missing watermarks from the last commit, if git has them."""
    restore_committed(root, PATH)


def rules_digest(rules: CrawlParams) -> str:
    """Return the digest of the parameters that decide which listings of a hub are admitted or withdrawn."""
    return hash_value({name: value for name, value in asdict(rules).items() if name not in NOT_RULES})[:16]


def scan_start(mark: Watermark | None, rules: CrawlParams, today: date) -> datetime | None:
    """Return the time that an incremental scan goes back to; None if a full scan is due."""
    if mark is None or mark.rules != rules_digest(rules):
        return None
    if not 0 <= (today - mark.last_full_scan).days < rules.full_scan_every_days:
        return None
    return mark.newest - timedelta(hours=rules.overlap_h)


def end_of(today: date) -> datetime:
    """Return the last second of a day; entries that a hub dates later do not advance a watermark further."""
    return datetime.combine(today, time(23, 59, 59), UTC)


def _from_row(row: Any) -> Watermark:
    newest = datetime.strptime(row["newest"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    last_full_scan = date.fromisoformat(row["last_full_scan"])
    return Watermark(newest=newest, last_full_scan=last_full_scan, rules=str(row["rules"]))


def _texts(mark: Watermark) -> dict[str, str]:
    return {
        "newest": f"{mark.newest:%Y-%m-%dT%H:%M:%SZ}",
        "last_full_scan": mark.last_full_scan.isoformat(),
    }
