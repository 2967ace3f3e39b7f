"""Live through a month of nights, check what they have left, and write docs/nights.md: `python -m bench.nights`.

Each night has real stages, git, DVC and Prefect, at a simulated date; bench/nights/plan.py says what happens. The test
bed is cache/nights; a command that is interrupted continues at the first night that is not finished.
"""

import argparse
import resource
import shutil
import time
from pathlib import Path

from autolora.catalog import store as catalog
from autolora.errors import exit_on_error
from autolora.releases.checks import Check, read_decisions
from bench.nights import diary, page, site
from bench.nights.checks import check
from bench.nights.diary import Entry
from bench.nights.plan import PLAN
from bench.nights.site import Site
from playground.hubs.repos import HUBS

FOLDER = Path("cache", "nights")


def main() -> None:
    """Live the nights that are left, then check and write."""
    parser = argparse.ArgumentParser(prog=page.COMMAND, description=__doc__)
    parser.add_argument(
        "--nights", type=int, default=len(PLAN), help="stop after so many; the page needs all"
    )
    parser.add_argument("--again", action="store_true", help="begin at the first night, in a new test bed")
    arguments = parser.parse_args()
    folder = FOLDER.absolute()
    if arguments.again:
        shutil.rmtree(folder, ignore_errors=True)
    with site.opened(folder) as running:
        for number in range(len(diary.read_entries(folder)) + 1, arguments.nights + 1):
            entry = live(running, number)
            diary.append(folder, entry)
            print(line(entry), flush=True)
        entries = diary.read_entries(folder)
        site.publish(running, len(entries))
        findings = check(running, entries, len(entries))
    print(findings)
    if len(entries) == len(PLAN):
        page.write(Path.cwd(), entries, findings)


def live(running: Site, number: int) -> Entry:
    """Live one night, and return what is recorded of it."""
    night, folder, root = PLAN[number - 1], running.folder, running.root
    earlier = diary.read_entries(folder)
    day = number - 2 if night.hazard == "clock" else number
    site.publish(running, number)
    for action in night.actions:
        site.act(running, action, day)
        diary.save_scores(folder, root)
    decisions = len(read_decisions(root))
    started, cpu = time.perf_counter(), cpu_of_children()
    with site.broken(running, night) as variables:
        status = site.refresh(running, night, day, variables, folder / "logs" / f"{number}.txt")
    seconds, cpu = time.perf_counter() - started, cpu_of_children() - cpu
    made, index = read_decisions(root)[decisions:], diary.save_scores(folder, root)
    former = diary.read_scores(folder, earlier[-1].served) if earlier else {}
    rows = index.rows.columns.column("sha256").to_pylist()
    files, sizes, disk = diary.usage(root)
    return Entry(
        night=number,
        what=night.what,
        expected=night.expected,
        verdict=made[-1].verdict
        if made
        else "nothing"
        if not status
        else "killed"
        if status < 0
        else "failed",
        reasons=tuple(map(reason, (*made[-1].refusals, *made[-1].warnings))) if made else (),
        seconds=round(seconds, 1),
        cpu_seconds=round(cpu, 1),
        requests=sum(sum(running.hub.counts.kinds(hub).values()) for hub in HUBS),
        new=len(set(rows) - former.keys()),
        adapters=len(rows),
        catalog_lines=len(catalog.read_all(root)),
        served=index.digest,
        tags=tuple(
            tag for tag in running.tags() if tag not in {tag for entry in earlier for tag in entry.tags}
        ),
        files=files,
        bytes=sizes,
        disk=disk,
    )


def reason(check: Check) -> str:
    """Return the name of a check, with its hub."""
    return f"{check.name} of {check.hub}" if check.hub else check.name


def cpu_of_children() -> float:
    """Return the CPU seconds of all processes that have ended below this one."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def line(entry: Entry) -> str:
    """Return a line of progress."""
    wrong = "" if entry.verdict == entry.expected else f", but {entry.expected} was expected"
    return (
        f"[nights] {entry.night}: {entry.what}: {entry.verdict}{wrong}, {entry.seconds:.0f} s, "
        f"{entry.adapters} adapters ({entry.new} new), {entry.requests} requests, {' '.join(entry.tags)} "
        f"{', '.join(entry.reasons)}"
    )


if __name__ == "__main__":
    with exit_on_error():
        main()
