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
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from PIL import Image, ImageFilter

from autolora import models
from autolora.catalog.store import read_active
from autolora.errors import exit_on_error
from autolora.fusion.flow_matching import predict_velocity
from autolora.fusion.global_lora import global_update
from autolora.lora.factors import Factors
from autolora.params import Params, load
from autolora.planning import meta_models
from autolora.planning.passes import noised_batch
from autolora.planning.plan import Plan, make_plan
from autolora.planning.rates import load_rates
from autolora.planning.tally import count
from autolora.pool.images import reencode_image
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
        rates = load_rates()
        for name, value in measure_rates(load(ROOT / "params.yaml")).items():
            print(f"{name}: {value:.3g} {rates[name].unit} (in rates.yaml {rates[name].value:.3g})")
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
    seconds["report"] = round((first[2] - before).total_seconds(), 1)
    return seconds


def compare(plan: Plan, measured: Mapping[str, Any]) -> list[str]:
    """Return a line per number of a stage, and of all stages: estimate, measurement and their ratio."""
    lines = []
    for what, planned in (("seconds", planned_seconds(plan)), ("bytes", planned_bytes(plan))):
        for stage, value in measured[what].items():
            if what == "seconds" or value >= MIN_BYTES:
                lines.append(
                    f"{stage}: {planned[stage]:,.0f} of {value:,.0f} {what}, {planned[stage] / value:.2f} ×"
                )
        total = sum(measured[what].values())
        lines.append(f"all: {sum(planned.values()):,.0f} of {total:,.0f} {what}")
    return lines


def planned_seconds(plan: Plan) -> dict[str, float]:
    """Return stage -> estimated seconds."""
    return {stage.stage: stage.seconds for stage in plan.stages}


def planned_bytes(plan: Plan) -> dict[str, float]:
    """Return stage -> estimated bytes of its output."""
    return {stage.stage: stage.disk for stage in plan.stages}


def measure_rates(params: Params, repetitions: int = REPETITIONS) -> dict[str, float]:
    """Return the rates of this machine by their name in rates.yaml."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            "call_s": time_call(params, repetitions),
            "cpu_flops_per_s": time_products(repetitions),
            "cpu_bfloat16_flops_per_s": time_products(repetitions, torch.bfloat16),
            "cpu_bytes_per_s": time_sums(repetitions),
            "memory_bytes_per_s": time_copies(repetitions),
            "cpu_decomposition_flops_per_s": time_decomposition(repetitions),
            "image_px_per_s": time_image(params, repetitions),
        }
    finally:
        torch.set_num_threads(threads)


def time_call(params: Params, repetitions: int) -> float:
    """Return the seconds per counted call of the base model's transformer, for one image of few tokens."""
    transformer, meta = models.load_pipeline(params.models).transformer, meta_models.pipeline(params.models)

    def run(model: Any) -> None:
        with torch.no_grad():
            predict_velocity(model, noised_batch(model, 1, tokens=4, text_tokens=4), 1.0)

    calls = count(lambda: run(meta.transformer)).calls
    return seconds_each(lambda: run(transformer), repetitions) / calls


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


def time_decomposition(repetitions: int, width: int = 3072, rank: int = 16) -> float:
    """Return the operations per second of the global LoRA of two adapters in a slot of FLUX.1-dev."""
    updates = [Factors(torch.rand(rank, width), torch.rand(width, rank), 1.0) for _ in range(2)]
    flops = 4 * 2 * width * (2 * rank) ** 2
    return flops / seconds_each(lambda: global_update(updates, 4), repetitions)


def time_image(params: Params, repetitions: int, side: int = 512) -> float:
    """Return the pixels per second that the pool checks and encodes again, of a smooth JPEG."""
    image = Image.effect_noise((side, side), 40).filter(ImageFilter.GaussianBlur(2)).convert("RGB")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.jpg"
        image.save(path, quality=90)
        return side**2 / seconds_each(lambda: reencode_image(path, params.pool), repetitions)


def seconds_each(run: Any, repetitions: int) -> float:
    """Return the CPU seconds of one call, after a first one."""
    run()
    seconds, _ = cpu_timed(lambda: [run() for _ in range(repetitions)])
    return seconds / repetitions


if __name__ == "__main__":
    with exit_on_error():
        main()
