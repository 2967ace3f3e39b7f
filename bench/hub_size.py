"""The cost of a refresh on a pool of a hub's size: `python -m bench.hub_size`.

Measured are reading and writing the catalog, a crawl without new files, `dvc status`, and `dvc repro` of the pool
with a few new adapters: seconds of the whole command, CPU seconds, and the memory of its largest process. --layout
measures DVC with another division of the pool into outputs; the pool's own code is the same. --crawl measures the
crawl alone. With either of the two, no metrics are written.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from autolora.catalog.store import read_active, write
from autolora.metrics.summary import Headline, update
from autolora.storage.files import write_atomic
from bench.big_pool import LAYOUTS, PROJECT, BigPool
from bench.costs import name_processor
from bench.timing import timed, today

COMMAND = "python -m bench.hub_size"
GOAL_S = 60
CRAWL = "crawl, nothing new"
REPRO = "`dvc repro`, {new} new"
MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
"""a small process that runs a command: right after a fork, a child's peak includes the memory of its parent"""
RESULTS = PROJECT / "metrics" / "hub_size.json"
Row = dict[str, float]
"""seconds, cpu_seconds, megabytes"""


def main() -> None:
    """Measure and print the table; write the metrics if everything is measured with the real layout."""
    options = read_options()
    PROJECT.joinpath("cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROJECT / "cache", prefix="hub-size-") as folder:
        big = BigPool(Path(folder), options.renderings)
        rows = measure(big, options)
        files = {folder: count_files(big.root / folder) for folder in ("data/pool", ".dvc/cache")}
    print(to_markdown(rows, files, options))
    if options.layout == "tables" and not options.crawl:
        content = {"adapters": options.adapters, "new": options.new, "renderings": options.renderings}
        content |= {"processor": name_processor(), "files": files, "rows": rows}
        write_atomic(RESULTS, json.dumps(content, indent=2) + "\n")
        update(PROJECT, COMMAND, today(), headlines(rows, options))


def headlines(rows: dict[str, Row], options: argparse.Namespace) -> list[Headline]:
    """Return the rows of metrics/summary.json; n is the number of adapters in the pool."""
    steps = {"crawl": CRAWL, "repro": REPRO.format(new=options.new)}
    return [
        Headline(
            name=f"bench.hub_size_{name}_seconds",
            value=rows[step]["seconds"],
            n=options.adapters,
            goal=GOAL_S if name == "repro" else None,
            better="lower",
        )
        for name, step in steps.items()
    ]


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hub_size", description=__doc__)
    parser.add_argument("--adapters", type=int, default=30_000)
    parser.add_argument("--new", type=int, default=20, help="new adapters of the measured refresh")
    parser.add_argument("--renderings", type=int, default=2, help="images of each adapter")
    parser.add_argument(
        "--layout", choices=LAYOUTS, default="tables", help="division of the pool into DVC outputs"
    )
    parser.add_argument("--crawl", action="store_true", help="measure the crawl alone")
    return parser.parse_args()


def measure(big: BigPool, options: argparse.Namespace) -> dict[str, Row]:
    """Return step -> its cost."""
    big.build(options.layout)
    log_time("building the hub", lambda: big.add_to_hub(0, options.adapters, real=False))
    log_time("first crawl", big.crawl)
    crawl = ("dvc", "repro", "--force", "--single-item", "crawl")
    if options.crawl:
        return {CRAWL: run_measured(big.root, *crawl)}
    log_time("filling the pool", big.fill)
    log_time("first commit", lambda: run_measured(big.root, "dvc", "commit", "--force"))
    listings = read_active(big.root)
    rows = {
        "read the catalog": measure_call(lambda: read_active(big.root)),
        "write the catalog": measure_call(lambda: write(big.root, reversed(listings))),
    }
    write(big.root, listings)
    rows[CRAWL] = run_measured(big.root, *crawl)
    rows["`dvc status`"] = run_measured(big.root, "dvc", "status")
    rows["`dvc repro`, nothing new"] = run_measured(big.root, "dvc", "repro")
    big.add_to_hub(options.adapters, options.adapters + options.new, real=True)
    big.crawl()
    log_time("crawl with new adapters", lambda: run_measured(big.root, "dvc", "commit", "--force", "crawl"))
    rows[REPRO.format(new=options.new)] = run_measured(big.root, "dvc", "repro")
    return rows


def measure_call(work: Callable[[], object]) -> Row:
    """Return the cost of a call in this process."""
    before, (seconds, _) = time.process_time(), timed(work)
    return {"seconds": round(seconds, 1), "cpu_seconds": round(time.process_time() - before, 1)}


def log_time(step: str, work: Callable[[], object]) -> None:
    """Do a step that is not part of the result, and log how long it takes."""
    print(f"{step}: {timed(work)[0]:.1f} s", file=sys.stderr, flush=True)


def run_measured(root: Path, *command: str) -> Row:
    """Run a command; return its seconds, its CPU seconds, and the memory of its largest process (10^6 bytes)."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "PYTHONPATH": str(PROJECT), "DVC_NO_ANALYTICS": "1"}
    seconds, process = timed(
        lambda: subprocess.run(
            [sys.executable, "-c", MEASURED, *command],
            cwd=root,
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
    )
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{process.stdout}\n{process.stderr}")
    print(f"{' '.join(command)}: {seconds:.1f} s\n{stage_lines(process.stdout)}", file=sys.stderr, flush=True)
    *_, cpu_seconds, kilobytes = process.stdout.split()
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(float(cpu_seconds), 1),
        "megabytes": round(int(kilobytes) * 1024 / 1e6),
    }


def stage_lines(output: str) -> str:
    """Return the lines in which the stages report their own time."""
    return "\n".join(f"  {line}" for line in output.splitlines() if line.startswith("["))


def count_files(folder: Path) -> int:
    """Return the number of files below a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))


def to_markdown(rows: dict[str, Row], files: dict[str, int], options: argparse.Namespace) -> str:
    """Return the results as a Markdown table."""
    title = (
        f"{options.adapters:,} adapters with {options.renderings} images each, {files['data/pool']:,} files in "
        f"data/pool, {files['.dvc/cache']:,} in DVC's cache; {name_processor()}; goal {GOAL_S} s per refresh"
    )
    columns = ("seconds", "cpu_seconds", "megabytes")
    lines = ["| step | seconds | CPU seconds | MB |\n|---|---|---|---|\n"]
    lines += [
        f"| {name} | {' | '.join(str(row.get(column, '')) for column in columns)} |\n"
        for name, row in rows.items()
    ]
    return f"{title}\n\n{''.join(lines)}"


if __name__ == "__main__":
    main()
