"""The cost of dataset, index, evaluation and report on a pool of a hub's size: `python -m bench.later_stages`.

The pool has tables, vectors, captions and images, but no weights (bench/table_pool.py). Each step is a process of its
own, whose seconds include its imports, without Prefect. The text encoder is replaced by random features: embedding
180,000 captions by CLIP depends on the device, and its time would hide that of everything else. --root builds the
pool in this folder and keeps it. Metrics are written if --adapters is not given.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from autolora.dataset import stage as dataset
from autolora.errors import exit_on_error
from autolora.evaluation import stage as evaluation
from autolora.index import stage as index
from autolora.metrics.summary import Headline, update
from autolora.params import EvaluationParams, load
from autolora.report.page import assemble
from autolora.storage.files import write_atomic
from bench.processes import PROJECT, Row, log_time, run_measured
from bench.table_pool import DATASET, RandomTextEncoder, TablePool
from bench.timing import name_processor, today

COMMAND = "python -m bench.later_stages"
RESULTS = PROJECT / "metrics" / "later_stages.json"
ADAPTERS, NEW = 30_000, 20
GOAL_MEGABYTES = 2000
EVALUATION = EvaluationParams(split="test", ks=(1, 3), bootstrap=2000, seed=0, themes=None)


def main() -> None:
    """Run one step, or measure all steps, print the table, and write the metrics."""
    options = read_options()
    if options.step:
        STEPS[options.step](options.root)
        return
    PROJECT.joinpath("cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PROJECT / "cache", prefix="later-stages-") as folder:
        adapters = options.adapters or ADAPTERS
        pool = TablePool(options.root or Path(folder), locked=adapters * 5 // 6)
        rows = measure(pool, adapters, options.new)
    print(to_markdown(rows, adapters))
    if (adapters, options.new) == (ADAPTERS, NEW):
        content = {
            "adapters": adapters,
            "new": NEW,
            "processor": name_processor(),
            "rows": rows,
        }
        write_atomic(RESULTS, json.dumps(content, indent=2) + "\n")
        update(PROJECT, COMMAND, today(), headlines(rows))


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--adapters", type=int, help=f"size of the pool instead of {ADAPTERS}")
    parser.add_argument("--new", type=int, default=NEW, help="adapters of the last refresh")
    parser.add_argument("--root", type=Path, help="folder of the pool")
    parser.add_argument("--step", choices=STEPS, help="run this step of a pool that is built")
    return parser.parse_args()


def measure(pool: TablePool, adapters: int, new: int) -> dict[str, Row]:
    """Return step -> its cost, in the order of a refresh: everything new, nothing new, and new adapters."""
    log_time("building the pool", lambda: pool.build(adapters))
    rows = {f"{step}, all rows": run_step(pool, step) for step in STEPS}
    rows |= {f"{step}, nothing new": run_step(pool, step) for step in STEPS}
    pool.add(adapters, adapters + new)
    return rows | {f"{step}, {new} new": run_step(pool, step) for step in STEPS}


def run_step(pool: TablePool, step: str) -> Row:
    """Run a step as a process and return its cost, and the number of files that it has written until now."""
    row = run_measured(
        PROJECT, "python", "-m", "bench.later_stages", "--root", str(pool.root), "--step", step
    )
    folder = pool.root / ("reports" if step == "report" else f"data/{step}")
    return {**row, "files": sum(path.is_file() for path in folder.rglob("*"))}


def run_dataset(root: Path) -> None:
    """Run the stage `dataset`."""
    sync = dataset.open_sync(root, DATASET)
    sync.update_adapters()
    sync.update_training_lock()
    sync.update_renderings()
    sync.update_captions()
    sync.update_prompts()
    sync.finish()


def run_index(root: Path) -> None:
    """Run the stage `index`."""
    params = load(PROJECT / "params.yaml")
    sync = index.open_sync(root, params.pool, RandomTextEncoder)
    plan = sync.plan()
    for batch in plan.embed:
        sync.embed(batch)
    sync.update(plan.update)
    sync.remove(plan.remove)
    sync.finish()


def run_evaluation(root: Path) -> None:
    """Run the stage `evaluation`."""
    evaluation.evaluate(root, EVALUATION, RandomTextEncoder(), "best", today())


STEPS: dict[str, Callable[[Path], object]] = {
    "dataset": run_dataset,
    "index": run_index,
    "evaluation": run_evaluation,
    "report": assemble,
}


def headlines(rows: dict[str, Row]) -> list[Headline]:
    """Return the rows of metrics/details.json; n is the number of adapters in the pool."""
    seconds = [
        Headline(
            name=f"bench.{step}_seconds_of_30000",
            value=rows[f"{step}, {NEW} new"]["seconds"],
            n=ADAPTERS,
            better="lower",
        )
        for step in STEPS
    ]
    peak = Headline(
        name="bench.later_stages_peak_megabytes",
        value=max(row["megabytes"] for row in rows.values()),
        n=ADAPTERS,
        goal=GOAL_MEGABYTES,
        better="lower",
    )
    return [*seconds, peak]


def to_markdown(rows: dict[str, Row], adapters: int) -> str:
    """Return the results as a Markdown table."""
    lines = [f"{adapters:,} adapters, {name_processor()}\n"]
    lines += ["| step | seconds | CPU seconds | MB | files |", "|---|---|---|---|---|"]
    lines += [
        f"| {step} | {row['seconds']} | {row['cpu_seconds']} | {row['megabytes']} | {row['files']} |"
        for step, row in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with exit_on_error():
        main()
