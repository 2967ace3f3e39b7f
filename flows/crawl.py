"""The stage `crawl`: look at the hubs and write down what they list. With --dry-run, say what that would bring."""

import argparse
import datetime
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import prefect
from prefect.utilities.annotations import opaque
from rich.console import Console
from rich.table import Table

from autolora.catalog import diff
from autolora.catalog import store as catalog
from autolora.crawl import stage
from autolora.crawl.budget import GB, Cost
from autolora.errors import HubError
from autolora.hubs.registry import open_hub, tokens_in
from autolora.params import Params
from autolora.records import Listing
from flows.stage import ROOT, params, run, task, today

TABLE_WIDTH = 120
NAMED = 10
"""lines of one kind that are printed; of more it is said how many"""


@task(retries=1, retry_delay_seconds=[2])
def look(name: str, values: Params, day: datetime.date, remember: bool = True) -> stage.Look:
    """Ask one hub what it lists."""
    return stage.look(ROOT, open_hub(name, values.hubs, tokens_in(os.environ)), values.crawl, day, remember)


@task()
def write(plan: stage.Plan) -> None:
    """Write the catalog."""
    stage.write(ROOT, plan)


@prefect.flow(name="crawl")
async def crawl() -> None:
    """Write the catalog; a hub that fails keeps its entries, and where all fail it stays as it is."""
    if stage.restore(ROOT):
        print("[crawl] data/catalog.jsonl was missing and is back as committed; no hub was asked", flush=True)
        return
    values, day, started = params(), today(), time.perf_counter()
    before = catalog.known(ROOT)
    plan = look_at_all(values, day)
    write(opaque(plan))
    files = diff.count(len({row.key for row in plan.rows if row.on_the_road}), "file", "files")
    asked = sum(not look.down for look in plan.looks)
    seconds = time.perf_counter() - started
    say(f"{files} in the catalog of {day}; {asked} hub(s) asked in {seconds:.1f} s")
    warn(plan, before, values.crawl.hubs)


@prefect.flow(name="crawl-dry-run")
async def preview() -> None:
    """Print what a night would fetch, and write nothing."""
    from autolora.pool.forecast import forecast, restores

    if restores(ROOT):
        say(
            "data/catalog.jsonl is missing: a crawl would put it back as committed and ask no hub; only the next one "
            "asks. What that brings: `git checkout data/catalog.jsonl data/watermarks.json`, then --dry-run again"
        )
        return
    values, day = params(), today()
    before = catalog.known(ROOT)
    plan = look_at_all(values, day, remember=False)
    print(drawn(tabulate(plan, before, forecast(ROOT, plan.rows, values.crawl), values.crawl.hubs)), end="")
    warn(plan, before, values.crawl.hubs)


def tabulate(
    plan: stage.Plan, before: Sequence[Listing], fetched: Mapping[str, Cost], hubs: Sequence[str]
) -> Table:
    """Return a table of what a night would fetch of each hub; before: the catalog in place."""
    table = Table(
        "hub", "files", "GB", "pictures", "captions", "left out", "queued", "withdrawn",
        title=f"what a night of {plan.today} would fetch",
        caption="what data/pool lacks of the catalog as it would be: new entries, and those that no night has fetched "
        "yet; at most, as if every file were accepted and no picture had captions",
    )  # fmt: skip
    withdrawn = Counter(row.hub for row in diff.withdrawn(before, plan.rows))
    for hub in hubs:
        new, left_out = fetched.get(hub, Cost()), plan.left_out.get(hub, {})
        table.add_row(
            hub, str(new.files), f"{new.size / GB:.4f}", str(new.renderings), str(new.captions),
            ", ".join(f"{rule} {number}" for rule, number in sorted(left_out.items())) or "–",
            in_words(plan.admission.queued.get(hub, Cost())) or "–", str(withdrawn[hub]),
        )  # fmt: skip
    return table


def drawn(table: Table) -> str:
    """Return a table as the terminal is to show it."""
    console = Console(width=max(Console().width, TABLE_WIDTH))
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def look_at_all(values: Params, day: datetime.date, remember: bool = True) -> stage.Plan:
    """Ask all hubs at once and put together what they said."""
    futures = {name: look.submit(name, values, day, remember) for name in values.crawl.hubs}
    looks = []
    for name, future in futures.items():
        try:
            looks.append(future.result())
        except HubError as error:
            looks.append(stage.miss(ROOT, name, error, day))
    return stage.plan(ROOT, looks, values.crawl, day)


def warn(plan: stage.Plan, before: Sequence[Listing], hubs: Sequence[str]) -> None:
    """Tell the news in Prefect's log, and then in the terminal, which nobody may be reading."""
    lines = news(plan, before, hubs)
    for line in lines:
        prefect.get_run_logger().warning(line)
    for line in lines:
        say(line)


def news(plan: stage.Plan, before: Sequence[Listing], hubs: Sequence[str]) -> list[str]:
    """Return in words what went wrong, what waits, and what leaves the catalog in place (before)."""
    problems = [
        f"hub {one.hub}{' is stale' if one.down else ''}: {problem.removeprefix(f'hub {one.hub}: ')}"
        for one in plan.looks
        for problem in one.problems
    ]
    set_aside = [
        f"set aside until {model.due}, its hub did not give it: {model.name}{model.others} ({model.why})"
        for model in diff.lacks(plan.set_aside)
    ]
    queued = sum(plan.admission.queued.values(), Cost())
    waiting = [f"queued for a later night: {in_words(queued)}"] if queued.files else []
    oversized = [f"larger than a night's whole budget: {diff.name(row)}" for row in plan.admission.oversized]
    left = [
        f"hub {hub} is not in crawl.hubs any more: "
        f"{diff.count(number, 'entry leaves', 'entries leave')} the catalog"
        for hub, number in diff.left(before, hubs).items()
    ]
    withdrawn = [f"withdrawn: {diff.name(row)}" for row in diff.withdrawn(before, plan.rows)]
    return [
        line
        for kind in (problems, set_aside, waiting, oversized, left, withdrawn)
        for line in (*kind[:NAMED], *([f"… and {len(kind) - NAMED} more such"] if len(kind) > NAMED else []))
    ]


def in_words(cost: Cost) -> str:
    """Return what a queue takes; nothing where it is empty."""
    files = diff.count(cost.files, "file", "files")
    return f"{files}, {cost.size / GB:.4f} GB" if cost.files else ""


def say(line: str) -> None:
    """Print a line of this stage."""
    print(f"[crawl] {line}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.crawl", description=crawl.__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print what would be fetched; write nothing")
    run(preview if parser.parse_args().dry_run else crawl)
