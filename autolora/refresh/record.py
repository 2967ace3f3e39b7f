"""data/refresh.json: what the last refresh brought. The refresh writes it, and git keeps it."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from autolora.errors import MismatchError, MissingArtifact
from autolora.refresh.outcomes import KINDS, Outcome
from autolora.storage.files import read_json, write_atomic

REFRESH = Path("data", "refresh.json")
MAX_RECORDED = 200
"""outcomes of one kind that the record names; the others are counted"""


@dataclass(frozen=True, kw_only=True, slots=True)
class RefreshRecord:
    """What the last refresh that changed anything brought."""

    day: date
    index: str
    """content digest of the index that it released"""
    adapters: int
    """number of adapters in that index"""
    counts: Mapping[str, int]
    """kind of an outcome -> number of files"""
    outcomes: tuple[Outcome, ...]
    """at most MAX_RECORDED of each kind"""
    problems: tuple[str, ...]
    """phrases on hubs and listings that need attention"""

    @classmethod
    def of(
        cls, day: date, index: str, adapters: int, outcomes: Sequence[Outcome], problems: Iterable[str]
    ) -> "RefreshRecord":
        """Return the record of a refresh; of all outcomes the first of each kind are named."""
        by_kind = {kind: [row for row in outcomes if row.kind == kind] for kind in KINDS}
        return cls(
            day=day,
            index=index,
            adapters=adapters,
            counts=dict(Counter(row.kind for row in outcomes)),
            outcomes=tuple(row for rows in by_kind.values() for row in rows[:MAX_RECORDED]),
            problems=tuple(problems),
        )


def write_refresh(root: Path, record: RefreshRecord) -> None:
    """Write data/refresh.json."""
    content = asdict(record) | {"day": record.day.isoformat()}
    write_atomic(root / REFRESH, json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def read_refresh(root: Path) -> RefreshRecord | None:
    """Return what the last refresh brought; None before the first. Raises MismatchError if the file is not valid."""
    try:
        content = read_json(root / REFRESH)
        return None if content is None else _to_record(content)
    except (MissingArtifact, KeyError, TypeError, ValueError) as error:
        raise MismatchError(
            f"{REFRESH} is not the record of a refresh ({error!r}): restore it (`git checkout {REFRESH}`), or delete "
            "it; the next refresh writes it"
        ) from error


def _to_record(content: Mapping[str, Any]) -> RefreshRecord:
    return RefreshRecord(
        day=date.fromisoformat(content["day"]),
        index=content["index"],
        adapters=content["adapters"],
        counts=content["counts"],
        outcomes=tuple(Outcome(**row) for row in content["outcomes"]),
        problems=tuple(content["problems"]),
    )
