"""Text of the crawl's summary."""

import json
from collections.abc import Sequence
from pathlib import Path

from autolora.catalog.diff import qualified_name
from autolora.crawl.plan import CatalogPlan
from autolora.storage.files import read_json, write_atomic
from autolora.wording import counted

PROBLEMS = "cache/crawl_problems.json"
"""the problems of the last crawl, for the report of the refresh"""
STALE = " was not scanned, its listings are stale"
MAX_LINES = 10
"""lines of one kind that are printed; the others are counted"""
RESTORED = "data/catalog was not complete and was restored from the last commit; no hub was scanned"


def catalog_line(plan: CatalogPlan, seconds: float) -> str:
    """Return the line on a crawl: the numbers of active and waiting files and of scanned hubs, and the duration."""
    files = counted(len({listing.key for listing in plan.listings if listing.is_active}), "active file")
    waiting = len({listing.key for listing in plan.listings if listing.status == "queued"})
    hubs = counted(sum(not scan.is_down for scan in plan.scans), "hub")
    return (
        f"{files} in the catalog of {plan.today}, {waiting:,} wait for a later night; "
        f"{hubs} scanned in {seconds:.1f} s"
    )


def changed_files(plan: CatalogPlan) -> dict[str, int]:
    """Return the numbers of files that a crawl adds to the active ones and removes from them."""
    before, after = (
        {listing.key for listing in listings if listing.is_active}
        for listings in (plan.before, plan.listings)
    )
    return {"added": len(after - before), "removed": len(before - after)}


def problem_lines(plan: CatalogPlan) -> list[str]:
    """Return one line per problem of a hub in its scan and reconciliation, and one if the disk keeps files out."""
    down = {scan.hub for scan in plan.scans if scan.is_down}
    return _first(
        [plan.no_room] * bool(plan.without_room)
        + [
            f"hub {hub}{STALE if hub in down else ''}: {problem.removeprefix(f'hub {hub}: ')}"
            for hub, hub_problems in plan.problems.items()
            for problem in hub_problems
        ]
    )


def taken_down_lines(plan: CatalogPlan) -> list[str]:
    """Return one line per file that was taken down here and is still listed."""
    return _first(
        [
            f"taken down, but still listed: {qualified_name(listing)} ({takedown.reason})"
            for listing, takedown in plan.taken_down
        ]
    )


def keep_problems(root: Path, plan: CatalogPlan) -> None:
    """Write the problems of a crawl, in place of those of the crawl before."""
    content = {"day": plan.today.isoformat(), "problems": problem_lines(plan)}
    write_atomic(root / PROBLEMS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_problems(root: Path) -> list[str]:
    """Return the problems of the last crawl."""
    content = read_json(root / PROBLEMS)
    return [*content["problems"]] if content else []


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], *([f"… and {more} more"] if more > 0 else [])]
