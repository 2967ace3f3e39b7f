"""The pool at the size of a hub: what a night costs over what it brings. `python -m bench.hub_size`

Measured are the catalog, a crawl that finds nothing new, `dvc status`, and `dvc repro` of the pool with a few new
adapters, in seconds of the whole command and its largest process's memory. --layout measures what DVC would take
with another layout of the pool; the pool's own code is the same. --crawl measures the crawl alone and writes nothing.
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

from autolora.catalog.store import catalog, write
from autolora.storage.files import write_atomic
from bench.big_pool import LAYOUTS, PROJECT, BigPool
from bench.costs import name_processor
from bench.timing import timed

GOAL_S = 60
CRAWL = "crawl, nothing new"
WEIGHED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
"""a small process that runs a command: a child's peak counts what its parent had in memory"""
RESULTS = PROJECT / "metrics" / "hub_size.json"
Row = dict[str, float]


def main() -> None:
    """Measure, print the table, and write metrics/hub_size.json where all is measured on the real layout."""
    options = read_options()
    PROJECT.joinpath("cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROJECT / "cache", prefix="hub-size-") as folder:
        big = BigPool(Path(folder), options.renderings)
        rows = measure(big, options)
        files = {place: count(big.root / place) for place in ("data/pool", ".dvc/cache")}
    print(table(rows, files, options))
    if options.layout == "tables" and not options.crawl:
        content = {"adapters": options.adapters, "new": options.new, "renderings": options.renderings}
        content |= {"processor": name_processor(), "files": files, "rows": rows}
        write_atomic(RESULTS, json.dumps(content, indent=2) + "\n")


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.hub_size", description=__doc__)
    parser.add_argument("--adapters", type=int, default=30_000)
    parser.add_argument("--new", type=int, default=20, help="adapters that a night brings")
    parser.add_argument("--renderings", type=int, default=2, help="of each adapter")
    parser.add_argument("--layout", choices=LAYOUTS, default="tables", help="what of the pool is DVC's")
    parser.add_argument("--crawl", action="store_true", help="measure the crawl alone")
    return parser.parse_args()


def measure(big: BigPool, options: argparse.Namespace) -> dict[str, Row]:
    """Return what every step takes."""
    big.build(options.layout)
    say("building", lambda: big.list(0, options.adapters, whole=False))
    say("the first crawl", big.crawl)
    crawl = ("dvc", "repro", "--force", "--single-item", "crawl")
    if options.crawl:
        return {CRAWL: spend(big.root, *crawl)}
    say("filling the pool", big.fill)
    say("the first commit", lambda: spend(big.root, "dvc", "commit", "--force"))
    listings = catalog(big.root)
    rows = {
        "catalog, read": time_own(lambda: catalog(big.root)),
        "catalog, written": time_own(lambda: write(big.root, reversed(listings))),
    }
    write(big.root, listings)
    rows[CRAWL] = spend(big.root, *crawl)
    rows["`dvc status`"] = spend(big.root, "dvc", "status")
    rows["`dvc repro`, nothing new"] = spend(big.root, "dvc", "repro")
    big.list(options.adapters, options.adapters + options.new, whole=True)
    big.crawl()
    say("the night's crawl", lambda: spend(big.root, "dvc", "commit", "--force", "crawl"))
    rows[f"`dvc repro`, {options.new} new"] = spend(big.root, "dvc", "repro")
    return rows


def time_own(work: Callable[[], object]) -> Row:
    """Return the seconds of a call in this process."""
    before, (seconds, _) = time.process_time(), timed(work)
    return {"seconds": round(seconds, 1), "processor": round(time.process_time() - before, 1)}


def say(what: str, work: Callable[[], object]) -> None:
    """Do something and say how long it took."""
    print(f"{what}: {timed(work)[0]:.1f} s", file=sys.stderr, flush=True)


def spend(root: Path, *command: str) -> Row:
    """Run a command and return its seconds, the processor's, and the memory of its largest process (10^6 bytes)."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"PATH": path, "PYTHONPATH": str(PROJECT), "DVC_NO_ANALYTICS": "1"}
    seconds, done = timed(
        lambda: subprocess.run(
            [sys.executable, "-c", WEIGHED, *command],
            cwd=root,
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    print(f"{' '.join(command)}: {seconds:.1f} s\n{own_lines(done.stdout)}", file=sys.stderr, flush=True)
    *_, processor, kilobytes = done.stdout.split()
    return {
        "seconds": round(seconds, 1),
        "processor": round(float(processor), 1),
        "megabytes": round(int(kilobytes) * 1024 / 1e6),
    }


def own_lines(output: str) -> str:
    """Return what the stages themselves say of their time."""
    return "\n".join(f"  {line}" for line in output.splitlines() if line.startswith("["))


def count(folder: Path) -> int:
    """Return the number of files below a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))


def table(rows: dict[str, Row], files: dict[str, int], options: argparse.Namespace) -> str:
    """Return the findings in Markdown."""
    title = (
        f"{options.adapters:,} adapters with {options.renderings} pictures each, {files['data/pool']:,} files in "
        f"data/pool, {files['.dvc/cache']:,} in DVC's cache; {name_processor()}; goal {GOAL_S} s a night"
    )
    columns = ("seconds", "processor", "megabytes")
    lines = ["| step | seconds | of the processor | MB |\n|---|---|---|---|\n"]
    lines += [
        f"| {name} | {' | '.join(str(row.get(column, '')) for column in columns)} |\n"
        for name, row in rows.items()
    ]
    return f"{title}\n\n{''.join(lines)}"


if __name__ == "__main__":
    main()
