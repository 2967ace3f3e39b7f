"""The stage `crawl`: look at the hubs and write down what they list. With --dry-run, say what that would bring."""

import argparse
import datetime
import os
import time

import prefect
from prefect.utilities.annotations import opaque
from rich.console import Console
from rich.table import Table

from autolora import crawl as stage
from autolora.budget import GB, Cost
from autolora.errors import HubError, ParamsError
from autolora.hubs.directory import open_hub, tokens_in
from autolora.params import Params
from flows.stage import ROOT, params, run, task

TABLE_WIDTH = 120
NAMED = 10
"""problems or entries of one kind that are printed; of more it is said how many"""


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
    plan = look_at_all(values, day)
    write(opaque(plan))
    files = len({row.key for row in plan.rows if row.on_the_road})
    asked = sum(not look.down for look in plan.looks)
    seconds = time.perf_counter() - started
    say(f"{files} files in the catalog of {day}; {asked} hub(s) asked in {seconds:.1f} s")
    warn(plan)


@prefect.flow(name="crawl-dry-run")
async def preview() -> None:
    """Print what a crawl would bring, and write nothing."""
    values, day = params(), today()
    plan = look_at_all(values, day, remember=False)
    table = Table(
        "hub", "files", "GB", "pictures", "captions", "left out", "queued", "withdrawn",
        title=f"what a crawl of {day} would fetch",
    )  # fmt: skip
    for hub in values.crawl.hubs:
        new, left_out = plan.admission.fetched.get(hub, Cost()), plan.left_out.get(hub, {})
        table.add_row(
            hub, str(new.files), f"{new.size / GB:.4f}", str(new.renderings), str(new.captions),
            ", ".join(f"{rule} {number}" for rule, number in sorted(left_out.items())) or "–",
            in_words(plan.admission.queued.get(hub, Cost())) or "–", str(len(plan.withdrawn(hub))),
        )  # fmt: skip
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)
    warn(plan)


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


def warn(plan: stage.Plan) -> None:
    """Say, in the terminal and in Prefect's log, what is stale, queued, too large for any night, or withdrawn."""
    problems = [
        f"hub {one.hub}{' is stale' if one.down else ''}: {problem.removeprefix(f'hub {one.hub}: ')}"
        for one in plan.looks
        for problem in one.problems
    ]
    oversized = [
        f"larger than a night's whole budget: {row.hub}:{row.id}/{row.file}"
        for row in plan.admission.oversized
    ]
    withdrawn = [f"withdrawn: {row.hub}:{row.id}/{row.file}" for row in plan.withdrawn()]
    queued = sum(plan.admission.queued.values(), Cost())
    number = sum(row.status == "queued" for row in plan.rows)
    waiting = [f"{number} queued: {in_words(queued)}"] if number else []
    for lines in (problems, waiting, oversized, withdrawn):
        more = [f"… and {len(lines) - NAMED} more such"] if len(lines) > NAMED else []
        for line in lines[:NAMED] + more:
            prefect.get_run_logger().warning(line)
            say(line)


def in_words(cost: Cost) -> str:
    """Return what a queue takes; nothing where it is empty."""
    return f"{cost.files} files, {cost.size / GB:.4f} GB" if cost.files else ""


def say(line: str) -> None:
    """Print a line of this stage."""
    print(f"[crawl] {line}", flush=True)


def today() -> datetime.date:
    """Return the day (UTC) that SOURCE_DATE_EPOCH names, or the clock's."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = time.time() if epoch is None else int(epoch)
    except ValueError as error:
        raise ParamsError(f"SOURCE_DATE_EPOCH is {epoch!r} but must be seconds since 1970") from error
    return datetime.datetime.fromtimestamp(now, datetime.UTC).date()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.crawl", description=crawl.__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print what would be fetched; write nothing")
    run(preview if parser.parse_args().dry_run else crawl)
