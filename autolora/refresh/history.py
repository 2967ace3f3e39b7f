"""The pool over time: what the last refresh brought, and its size and recall at every release.

data/refresh.json records the last refresh; the refresh writes it, and git keeps it. A release is a commit that changed
digests/index.json; its numbers are those that were committed with it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from autolora.catalog import store as catalog
from autolora.catalog.sources import precedence
from autolora.errors import MismatchError, MissingArtifact
from autolora.records import Listing
from autolora.refresh.outcomes import KINDS, Outcome
from autolora.storage.files import read_json, write_atomic
from autolora.storage.git import Commit, history, read_revisions, revisions_with_any, tags

REFRESH = Path("data", "refresh.json")
MAX_RECORDED = 200
"""outcomes of one kind that the record names; the others are counted"""
MAX_RELEASES = 200
EARLIEST = 20
"""number of the catalog's earliest listings that show whether a commit holds the same pool"""
METHODS = ("hybrid", "encoder")
"""of an evaluation; the first that was measured gives the recall of a release"""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Recall:
    """The headline recall of a release: the share of searches whose first hit is right."""

    value: float
    low: float
    high: float
    """ends of the 95 % interval"""
    chance: float | None
    queries: int
    level: str
    """theme: a hit of the requested theme is right; adapter: only the described adapter is"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Release:
    """A commit that changed the index."""

    commit: Commit
    tags: tuple[str, ...]
    index: str
    """content digest"""
    adapters: int
    recall: Recall | None
    """None if no evaluation of this index was committed with it"""


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


def releases(root: Path) -> list[Release]:
    """Return the last MAX_RELEASES releases of this pool, the oldest first; empty outside a git repository.

    A repository may begin with the releases of another pool, e.g. the playground's: a commit counts only if its
    catalog holds one of the earliest listings of the current one.
    """
    commits = {commit.sha: commit for commit in history(root, "digests/index.json")[:MAX_RELEASES]}
    own = revisions_with_any(root, list(commits), "data/catalog", _earliest(root))
    shas = [sha for sha in commits if sha in own]
    digests = read_revisions(root, shas, "digests/index.json")
    evaluations = read_revisions(root, shas, "metrics/evaluation.json")
    names = tags(root)
    found = (
        _release(commits[sha], names.get(sha, ()), json.loads(digests[sha]), evaluations.get(sha))
        for sha in reversed(shas)
        if sha in digests
    )
    return [release for release in found if release]


def headline_recall(evaluation: Mapping[str, Any], of: Sequence[str] = METHODS) -> Recall | None:
    """Return the recall of an evaluation's tables: by theme if themes are judged, else by adapter; None without.

    of: methods; the first that was measured counts.
    """
    levels = evaluation.get("levels", {})
    for level in ("theme", "adapter"):
        methods = levels.get(level, {}).get("methods", {})
        for method in of:
            row = methods.get(method, {}).get("R@1")
            if row:
                chance = methods.get("random", {}).get("R@1", {}).get("value")
                return Recall(
                    value=row["value"], low=row["low"], high=row["high"], chance=chance, queries=row["n"],
                    level=level,
                )  # fmt: skip
    return None


def _to_record(content: Mapping[str, Any]) -> RefreshRecord:
    return RefreshRecord(
        day=date.fromisoformat(content["day"]),
        index=content["index"],
        adapters=content["adapters"],
        counts=content["counts"],
        outcomes=tuple(Outcome(**row) for row in content["outcomes"]),
        problems=tuple(content["problems"]),
    )


def _earliest(root: Path) -> list[str]:
    """Return the texts of the catalog that name its earliest listings, as its lines contain them."""
    listings = sorted(catalog.read_all_or_empty(root), key=precedence)
    return [_line_text(listing) for listing in listings[:EARLIEST]]


def _line_text(listing: Listing) -> str:
    hub, id = (json.dumps(text, ensure_ascii=False) for text in (listing.hub, listing.id))
    return f'"hub":{hub},"id":{id}'


def _release(
    commit: Commit, names: tuple[str, ...], digest: Mapping[str, Any], evaluation: str | None
) -> Release | None:
    """Return the release of a commit; None if an AutoLoRA that names its indexes otherwise wrote the digest."""
    if not {"content", "rows"} <= digest.keys():
        return None
    measured = json.loads(evaluation) if evaluation else {}
    is_of_index = measured.get("indexed_adapters") == digest["rows"]
    return Release(
        commit=commit,
        tags=names,
        index=digest["content"],
        adapters=digest["rows"],
        recall=headline_recall(measured) if is_of_index else None,
    )
