"""Text of the crawl's summary."""

import json
from collections.abc import Sequence
from pathlib import Path

from autolora.catalog.diff import dropped_hubs, newly_withdrawn, qualified_name
from autolora.catalog.failed_models import group_by_model
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
    """Return the line that closes a crawl: the number of active files and of scanned hubs, and the duration."""
    files = counted(
        len({listing.key for listing in plan.listings if listing.is_active}), "active file", "active files"
    )
    hubs = counted(sum(not scan.is_down for scan in plan.scans), "hub")
    return f"{files} in the catalog of {plan.today}; {hubs} scanned in {seconds:.1f} s"


def changed_files(plan: CatalogPlan) -> dict[str, int]:
    """Return the numbers of files that a crawl adds to the active ones and removes from them."""
    before, after = (
        {listing.key for listing in listings if listing.is_active}
        for listings in (plan.before, plan.listings)
    )
    return {"added": len(after - before), "removed": len(before - after)}


def report_lines(plan: CatalogPlan, hubs: Sequence[str]) -> list[str]:
    """Return the lines that may need attention: problems, and listings that are not active, by their reason.

    hubs: the names in crawl.hubs. Each kind has at most MAX_LINES lines.
    """
    deferred = [
        f"deferred until {model.retry_on}, {model.failure}: {model.name}{model.others} ({model.reason})"
        for model in group_by_model(plan.deferred)
    ]
    waiting = len({listing.key for listing in plan.listings if listing.status == "queued"})
    queued = [f"wait for a later night: {counted(waiting, 'file')}"] if waiting else []
    dropped = [
        f"hub {hub} is no longer in crawl.hubs: "
        f"{counted(number, 'listing is', 'listings are')} not active any more"
        for hub, number in dropped_hubs(plan.before, hubs).items()
    ]
    withdrawn = [
        f"withdrawn: {qualified_name(listing)}" for listing in newly_withdrawn(plan.before, plan.listings)
    ]
    taken_down = [
        f"taken down, but still listed: {qualified_name(listing)} ({takedown.reason})"
        for listing, takedown in plan.taken_down
    ]
    return [
        line
        for lines in (problem_lines(plan), deferred, queued, dropped, withdrawn, taken_down)
        for line in _first(lines)
    ]


def problem_lines(plan: CatalogPlan) -> list[str]:
    """Return one line per problem of a hub in its scan and reconciliation, and one if the disk keeps files out."""
    down = {scan.hub for scan in plan.scans if scan.is_down}
    files = counted(plan.without_room, "new file")
    full = f"no room for {files}: free some space, or lower crawl.min_free_gb in params.yaml"
    return [full] * bool(plan.without_room) + [
        f"hub {hub}{STALE if hub in down else ''}: {problem.removeprefix(f'hub {hub}: ')}"
        for hub, hub_problems in plan.problems.items()
        for problem in hub_problems
    ]


def keep_problems(root: Path, plan: CatalogPlan) -> None:
    """Write the problems of a crawl, in place of those of the crawl before."""
    content = {"day": plan.today.isoformat(), "problems": _first(problem_lines(plan))}
    write_atomic(root / PROBLEMS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_problems(root: Path) -> list[str]:
    """Return the problems of the last crawl."""
    content = read_json(root / PROBLEMS)
    return [*content["problems"]] if content else []


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], *([f"… and {more} more"] if more > 0 else [])]
