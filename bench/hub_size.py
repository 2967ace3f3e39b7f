"""The cost of a refresh on a pool of a hub's size: `python -m bench.hub_size`.

The same steps are measured on a small and on a large pool: reading and writing the catalog, a crawl without new files,
`dvc status`, `dvc repro` of the pool without and with a few new adapters, and giving their batch to DVC. Measured are
seconds of the whole command, CPU seconds, and the memory of its largest process. A Prefect server is already running,
as for scheduled refreshes. --crawl measures the crawl alone. Metrics are written if no option is given.

--listed 30000 measures the first crawls instead: requests and seconds of two crawls that begin with an empty catalog,
beside those of `autolora plan`, at a loopback hub that lists so many models.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from autolora.catalog.store import read_active, write
from autolora.errors import exit_on_error
from autolora.metrics.summary import Headline, update
from autolora.pool import store as pool
from autolora.storage.files import write_atomic
from bench.big_pool import PROJECT, BigPool
from bench.listed_hub import crawl_daily, measured_params, plan
from bench.processes import Row, log_time, prefect_server, run_measured
from bench.timing import name_processor, timed, today

COMMAND = "python -m bench.hub_size"
GOALS = {
    "refresh_20_new_seconds": 25.0, "hub_size_ratio": 1.5, "hub_size_unchanged": 10.0, "hub_size_crawl": 15.0,
    "hub_size_disk": 1.05,
}  # fmt: skip
"""refresh with new adapters: seconds, and ratio to the small pool; `dvc repro` and crawl with nothing new: seconds;
space of the pool with DVC's cache, relative to the pool's files"""
CRAWL, UNCHANGED, ADD = "crawl, nothing new", "`dvc repro`, nothing new", "`python -m flows.dvc`"
REPRO = "`dvc repro`, {new} new"
BLOCK_BYTES = 512
"""unit of st_blocks"""
RESULTS = PROJECT / "metrics" / "hub_size.json"
SMALL, LARGE, NEW, RENDERINGS = 1000, 30_000, 20, 2
"""adapters of both pools, new adapters, images of each"""


def main() -> None:
    """Measure both pools and print their tables; write the metrics if everything was measured."""
    options = read_options()
    if options.listed:
        return print(days_table(options))
    PROJECT.joinpath("cache").mkdir(exist_ok=True)
    results = {}
    for adapters in (options.small, options.adapters):
        results[str(adapters)] = measure_pool(adapters, options)
        print(to_markdown(adapters, results[str(adapters)], options))
    chosen = (options.small, options.adapters, options.new, options.renderings)
    if chosen == (SMALL, LARGE, NEW, RENDERINGS) and not options.crawl:
        content = {"new": options.new, "renderings": options.renderings, "processor": name_processor()}
        write_atomic(RESULTS, json.dumps(content | {"pools": results}, indent=2) + "\n")
        update(PROJECT, COMMAND, today(), headlines(results, options))


def measure_pool(adapters: int, options: argparse.Namespace) -> dict[str, Any]:
    """Build a pool, measure it with a Prefect server of its own, and remove it; return files, disk_ratio and rows."""
    with tempfile.TemporaryDirectory(dir=PROJECT / "cache", prefix="hub-size-") as name:
        folder = Path(name)
        with prefect_server(folder / "prefect") as api:
            os.environ["PREFECT_API_URL"] = api
            big = BigPool(folder / "repository", options.renderings)
            rows = measure(big, adapters, options)
        disk = round(disk_ratio(big.root), 3)
        return {"files": count_files(pool.folder(big.root)), "disk_ratio": disk, "rows": rows}


def days_table(options: argparse.Namespace) -> str:
    """Crawl a hub of options.listed models on two days; return the crawls beside the plan as a Markdown table."""
    params = measured_params(options.newest or None, options.files, options.requests_per_s)
    planned = [plan(params, options.listed, day * options.files) for day in (1, 2)]
    rows = [
        (planned[0].hub_requests, planned[0].seconds),
        (planned[1].hub_requests - planned[0].hub_requests, planned[1].seconds - planned[0].seconds),
    ]
    lines = [
        f"{options.listed:,} listed models, newest: {options.newest:,}, {options.files:,} new files per night, "
        f"{options.requests_per_s:g} requests per second, {options.new} new models per day; {name_processor()}\n",
        "| day | requests | planned | seconds | planned | active | queued | catalog, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    crawls = crawl_daily(params, options.listed, options.new)
    for number, ((requests, seconds), day) in enumerate(zip(rows, crawls, strict=False), 1):
        lines.append(
            f"| {number} | {day.requests:,} | {requests:,} | {day.seconds:.1f} | {seconds:.1f} | "
            f"{day.active:,} | {day.queued:,} | {day.catalog_mb:.1f} |"
        )
    return "\n".join(lines)


def headlines(results: dict[str, dict[str, Any]], options: argparse.Namespace) -> list[Headline]:
    """Return the rows of metrics/details.json; n is the number of adapters in the pool."""
    large = results[str(options.adapters)]
    small_s, large_s = (
        refresh_seconds(results[str(n)]["rows"], options) for n in (options.small, options.adapters)
    )
    values = {
        "refresh_20_new_seconds": large_s,
        "hub_size_ratio": large_s / small_s,
        "hub_size_unchanged": large["rows"][UNCHANGED]["seconds"],
        "hub_size_crawl": large["rows"][CRAWL]["seconds"],
        "hub_size_disk": large["disk_ratio"],
    }
    return [
        Headline(
            name=f"operation.{name}",
            value=round(value, 2),
            n=options.adapters,
            goal=GOALS[name],
            better="lower",
        )
        for name, value in values.items()
    ]


def refresh_seconds(rows: dict[str, Row], options: argparse.Namespace) -> float:
    """Return the seconds of the pool's part of a refresh with new adapters: the stage, and giving its batch to DVC."""
    return rows[REPRO.format(new=options.new)]["seconds"] + rows[ADD]["seconds"]


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hub_size", description=__doc__)
    parser.add_argument("--adapters", type=int, default=LARGE, help="of the large pool")
    parser.add_argument("--small", type=int, default=SMALL, help="adapters of the small pool")
    parser.add_argument("--new", type=int, default=NEW, help="new adapters of the measured refresh")
    parser.add_argument("--renderings", type=int, default=RENDERINGS, help="images of each adapter")
    parser.add_argument("--crawl", action="store_true", help="measure the crawl alone")
    parser.add_argument(
        "--listed", type=int, help="measure the first crawls of a hub that lists so many models"
    )
    parser.add_argument("--newest", type=int, default=1000, help="crawl.newest of the first crawls; 0: null")
    parser.add_argument("--files", type=int, default=200, help="crawl.max_new_files of the first crawls")
    parser.add_argument("--requests-per-s", type=float, default=2.0, help="of the first crawls, to the hub")
    return parser.parse_args()


def measure(big: BigPool, adapters: int, options: argparse.Namespace) -> dict[str, Row]:
    """Return step -> its cost on a pool of that many adapters."""
    big.build()
    log_time("building the hub", lambda: big.add_to_hub(0, adapters, real=False))
    log_time("first crawl", big.crawl)
    crawl = ("dvc", "repro", "--force", "--single-item", "crawl")
    if options.crawl:
        return {CRAWL: run_measured(big.root, *crawl)}
    log_time("filling the pool", big.fill)
    log_time("first commit", lambda: run_measured(big.root, "dvc", "commit", "--force"))
    log_time("first addition", lambda: run_measured(big.root, "python", "-m", "flows.dvc"))
    listings = read_active(big.root)
    changed = [replace(listing, stale_since=listing.first_seen) for listing in listings]
    rows = {
        "read the catalog": measure_call(lambda: read_active(big.root)),
        "write the catalog": measure_call(lambda: write(big.root, changed)),
    }
    write(big.root, listings)
    rows[CRAWL] = run_measured(big.root, *crawl)
    rows["`dvc status`"] = run_measured(big.root, "dvc", "status")
    rows[UNCHANGED] = run_measured(big.root, "dvc", "repro")
    big.add_to_hub(adapters, adapters + options.new, real=True)
    big.crawl()
    log_time("crawl with new adapters", lambda: run_measured(big.root, "dvc", "commit", "--force", "crawl"))
    rows[REPRO.format(new=options.new)] = run_measured(big.root, "dvc", "repro")
    rows[ADD] = run_measured(big.root, "python", "-m", "flows.dvc")
    return rows


def measure_call(work: Callable[[], object]) -> Row:
    """Return the cost of a call in this process."""
    before, (seconds, _) = time.process_time(), timed(work)
    return {"seconds": round(seconds, 1), "cpu_seconds": round(time.process_time() - before, 1)}


def count_files(folder: Path) -> int:
    """Return the number of files below a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))


def disk_ratio(root: Path) -> float:
    """Return the space of the pool and DVC's cache, each file once, relative to that of the pool's files.

    A sparse file counts with its full size.
    """
    files = sizes(pool.folder(root))
    return sum((sizes(root / ".dvc/cache") | files).values()) / sum(files.values())


def sizes(folder: Path) -> dict[int, int]:
    """Return inode -> size in bytes, rounded up to whole blocks of the disk, of the files below a folder."""
    paths = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return {
        status.st_ino: max(status.st_size, status.st_blocks * BLOCK_BYTES) for status in map(os.stat, paths)
    }


def to_markdown(adapters: int, result: dict[str, Any], options: argparse.Namespace) -> str:
    """Return the results of one pool as a Markdown table."""
    title = (
        f"{adapters:,} adapters with {options.renderings} images each, {result['files']:,} files; pool and DVC's cache "
        f"take {result['disk_ratio']:.3f} × the space of the pool's files; {name_processor()}"
    )
    columns = ("seconds", "cpu_seconds", "megabytes")
    lines = ["| step | seconds | CPU seconds | MB |\n|---|---|---|---|\n"]
    lines += [
        f"| {name} | {' | '.join(str(row.get(column, '')) for column in columns)} |\n"
        for name, row in result["rows"].items()
    ]
    return f"{title}\n\n{''.join(lines)}"


if __name__ == "__main__":
    with exit_on_error():
        main()
