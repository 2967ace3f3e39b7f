"""Text of the crawl's summary: the lines of a crawl and the table of a dry run."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from autolora.catalog.diff import dropped_hubs, newly_withdrawn, qualified_name
from autolora.catalog.failed_models import group_by_model
from autolora.crawl.budget import GB, Cost
from autolora.crawl.plan import CatalogPlan
from autolora.storage.files import read_json, write_atomic
from autolora.wording import counted

PROBLEMS = "cache/crawl_problems.json"
"""the hubs' problems in the last crawl, for the report of the refresh"""
TABLE_WIDTH = 120
"""minimum width of a printed table, in characters"""
STALE = " was not scanned, its listings are stale"
MAX_LINES = 10
"""lines of one kind that are printed; the others are counted"""
RESTORED = "data/catalog was not complete and was restored from the last commit; no hub was scanned"
WOULD_RESTORE = (
    "data/catalog is not complete: a crawl would restore it from the last commit and scan no hub; only the next crawl "
    "would. To preview that one: `git checkout data/catalog data/watermarks.json`, then --dry-run again"
)


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


def downloads_table(plan: CatalogPlan, downloads: Mapping[str, Cost], hubs: Sequence[str]) -> Table:
    """Return the table of a dry run: per hub the downloads, the rejected, the queued and the withdrawn files.

    downloads: hub -> cost of what the stage `pool` would download after this crawl.
    """
    table = Table(
        "hub", "files", "GB", "images", "captions", "left out", "queued", "withdrawn",
        title=f"downloads after a crawl on {plan.today}",
        caption="everything in the planned catalog that is missing from data/pool, whether new or not yet downloaded; "
        "an upper bound, as if every file were accepted and no image had captions",
    )  # fmt: skip
    withdrawn = Counter(listing.hub for listing in newly_withdrawn(plan.before, plan.listings))
    for hub in hubs:
        cost, left_out = downloads.get(hub, Cost()), plan.left_out.get(hub, {})
        table.add_row(
            hub, str(cost.files), f"{cost.size / GB:.4f}", str(cost.renderings), str(cost.captions),
            ", ".join(f"{rule} {number}" for rule, number in sorted(left_out.items())) or "–",
            cost_text(plan.admission.queued.get(hub, Cost())) or "–", str(withdrawn[hub]),
        )  # fmt: skip
    return table


def table_text(table: Table) -> str:
    """Return a table as text, at least TABLE_WIDTH wide."""
    console = Console(width=max(Console().width, TABLE_WIDTH))
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def report_lines(plan: CatalogPlan, hubs: Sequence[str]) -> list[str]:
    """Return the lines that may need attention: problems, and listings that are not active, by their reason.

    hubs: the names in crawl.hubs. Each kind has at most MAX_LINES lines.
    """
    deferred = [
        f"deferred until {model.retry_on}, {model.failure}: {model.name}{model.others} ({model.reason})"
        for model in group_by_model(plan.deferred)
    ]
    cost = sum(plan.admission.queued.values(), Cost())
    queued = [f"queued for a later day: {cost_text(cost)}"] if cost.files else []
    oversized = [
        f"larger than the whole daily budget: {qualified_name(listing)}"
        for listing in plan.admission.oversized
    ]
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
        for lines in (problem_lines(plan), deferred, queued, oversized, dropped, withdrawn, taken_down)
        for line in _first(lines)
    ]


def problem_lines(plan: CatalogPlan) -> list[str]:
    """Return one line per problem of a hub in its scan and reconciliation."""
    down = {scan.hub for scan in plan.scans if scan.is_down}
    return [
        f"hub {hub}{STALE if hub in down else ''}: {problem.removeprefix(f'hub {hub}: ')}"
        for hub, hub_problems in plan.problems.items()
        for problem in hub_problems
    ]


def keep_problems(root: Path, plan: CatalogPlan) -> None:
    """Write the hubs' problems of a crawl, in place of those of the crawl before."""
    content = {"day": plan.today.isoformat(), "problems": _first(problem_lines(plan))}
    write_atomic(root / PROBLEMS, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_problems(root: Path) -> list[str]:
    """Return the hubs' problems in the last crawl."""
    content = read_json(root / PROBLEMS)
    return [*content["problems"]] if content else []


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MAX_LINES
    return [*lines[:MAX_LINES], *([f"… and {more} more"] if more > 0 else [])]


def cost_text(cost: Cost) -> str:
    """Return the number of files and their size; an empty string if there are no files."""
    files, unsized = counted(cost.files, "file"), f" without {cost.unsized:,} of unknown size"
    return f"{files}, {cost.size / GB:.4f} GB{unsized if cost.unsized else ''}" if cost.files else ""
