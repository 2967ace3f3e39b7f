"""The estimates of `autolora plan` beside what a run took: `python -m bench.plan` (after `make demo`, or on a copy).

The first refresh of the demo runs all stages. Their seconds are those between the end of a stage and that of the stage
before it, as Prefect has recorded them, so that they contain the start of their process; bytes are those of data/. The
numbers go to metrics/plan.json, and a test requires that today's estimates are within a factor of LIMIT of them.

--rates measures the rates of autolora/planning/rates.yaml that name this command, in CPU seconds of one thread, which
other work on the machine affects little.
"""

import argparse
import datetime
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import yaml

from autolora.catalog.store import read_active
from autolora.errors import exit_on_error
from autolora.params import load
from autolora.planning.plan import RATES, Plan, make_plan
from autolora.storage.files import write_atomic
from bench.timing import cpu_timed, name_processor, today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.plan"
RESULTS = ROOT / "metrics" / "plan.json"
LIMIT = 2.0
"""largest factor between estimate and measurement"""
MIN_BYTES = 100_000
"""outputs smaller than this are not compared one by one"""
RUNS = "SELECT name, start_time, end_time FROM flow_run WHERE state_name = 'Completed' ORDER BY start_time"
FOLDERS = {"catalog": "crawl"}
"""of outputs that are not named as their stage"""
REPETITIONS = 5


def main() -> None:
    """Measure, print, and write metrics/plan.json; or measure the rates and print them."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="repository after `make demo`")
    parser.add_argument("--rates", action="store_true", help="measure rates of this machine")
    options = parser.parse_args()
    if options.rates:
        rates = yaml.safe_load(RATES.read_text())
        for name, value in measure_rates().items():
            print(f"{name}: {value:.3g} {rates[name]['unit']} (in rates.yaml {rates[name]['value']:.3g})")
        return
    measured = measure(options.root.absolute())
    write_atomic(RESULTS, json.dumps(measured, indent=2) + "\n")
    os.chdir(options.root)
    for line in compare(make_plan(load(Path("params.yaml")), Path.cwd(), measured["adapters"]), measured):
        print(line)


def measure(root: Path) -> dict[str, Any]:
    """Return what the stages of the demo's first refresh took, and the size of their outputs."""
    active = read_active(root)
    return {
        "adapters": len(active),
        "images_per_adapter": round(fmean(len(listing.renderings) for listing in active), 2),
        "processor": name_processor(),
        "date": today().isoformat(),
        "seconds": read_seconds(root / "cache" / "prefect" / "prefect.db"),
        "bytes": {
            FOLDERS.get(folder.name, folder.name): sum(
                path.stat().st_size for path in folder.rglob("*") if path.is_file()
            )
            for folder in sorted((root / "data").iterdir())
            if folder.is_dir()
        },
    }


def read_seconds(database: Path) -> dict[str, float]:
    """Return stage -> seconds of the first refresh that Prefect has recorded, in the order of the stages."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        runs = connection.execute(RUNS).fetchall()
    times = [
        (name.split()[0], *map(datetime.datetime.fromisoformat, (begin, end))) for name, begin, end in runs
    ]
    first = next(run for run in times if run[0] == "refresh")
    before, seconds = first[1], {}
    for stage, begin, end in times:
        if stage != "refresh" and first[1] <= begin and end <= first[2]:
            seconds[stage] = round((end - before).total_seconds(), 1)
            before = end
    return seconds


def compare(plan: Plan, measured: Mapping[str, Any]) -> list[str]:
    """Return a line per number of a stage, and of all stages: estimate, measurement and their ratio."""
    lines = []
    for what, planned in planned_of(plan).items():
        found = {stage: measured[what].get(stage, 0) for stage in planned}
        lines += [
            f"{stage}: {planned[stage]:,.0f} of {value:,.0f} {what}, {planned[stage] / value:.2f} ×"
            for stage, value in found.items()
            if value > (MIN_BYTES if what == "bytes" else 0)
        ]
        lines.append(f"all: {sum(planned.values()):,.0f} of {sum(found.values()):,.0f} {what}")
    return lines


def planned_of(plan: Plan) -> dict[str, dict[str, float]]:
    """Return the estimated seconds and bytes of output of each stage, as `measure` names them."""
    return {
        "seconds": {stage.stage: stage.seconds for stage in plan.stages},
        "bytes": {stage.stage: stage.disk for stage in plan.stages},
    }


def measure_rates(repetitions: int = REPETITIONS) -> dict[str, float]:
    """Return the rates of this machine by their name in rates.yaml."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            "cpu_32_bit_flops_per_s": time_products(repetitions),
            "cpu_16_bit_flops_per_s": time_products(repetitions, torch.bfloat16),
            "cpu_bytes_per_s": time_sums(repetitions),
            "memory_bytes_per_s": time_copies(repetitions),
        }
    finally:
        torch.set_num_threads(threads)


def time_products(repetitions: int, dtype: torch.dtype = torch.float32, size: int = 1024) -> float:
    """Return the operations per second of a matrix product."""
    matrix = torch.rand(size, size).to(dtype)
    return 2 * size**3 / seconds_each(lambda: matrix @ matrix, repetitions)


def time_sums(repetitions: int, size: int = 2**20) -> float:
    """Return the bytes per second of the sum of two vectors of 4 MB."""
    left, right, total = torch.rand(size), torch.rand(size), torch.empty(size)
    return 3 * left.nbytes / seconds_each(lambda: torch.add(left, right, out=total), 10 * repetitions)


def time_copies(repetitions: int, size: int = 2**25) -> float:
    """Return the bytes per second that a concatenation of four tensors of 134 MB reads and writes."""
    tensors = [torch.rand(size) for _ in range(4)]
    return 2 * 4 * tensors[0].nbytes / seconds_each(lambda: torch.cat(tensors), repetitions)


def seconds_each(run: Any, repetitions: int) -> float:
    """Return the CPU seconds of one call, after a first one."""
    run()
    seconds, _ = cpu_timed(lambda: [run() for _ in range(repetitions)])
    return seconds / repetitions


if __name__ == "__main__":
    with exit_on_error():
        main()
