"""Ray beside the engine `local`, on a cluster of loopback: `python -m bench.engines` (needs the extra `ray`; minutes).

`overhead`: seconds of ITEMS batches that take no time, start of Ray and its workers included. `scaling`: seconds of
BATCHES batches of a captioner that answers after ANSWER_S, one image at a time, by one, two and four nodes, without the
start: from the first batch that arrives to the last. All nodes share this machine's processors, so a captioner waits.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from autolora.errors import exit_on_error
from autolora.storage.files import Row, write_atomic
from bench.timing import name_processor, timed, today
from flows import engine
from flows.engine import Job
from tests.support.ray_cluster import cluster

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.engines"
RESULTS = ROOT / "metrics" / "engines_bench.json"
ITEMS, BATCHES, ANSWER_S = 1000, 48, 0.5
NODES = (1, 2, 4)


def main() -> None:
    """Measure, print the table and write the metrics."""
    argparse.ArgumentParser(prog=COMMAND.removeprefix("python -m "), description=__doc__).parse_args()
    if find_spec("ray") is None:
        raise SystemExit("Ray is not installed: pip install 'autolora[ray]'")
    rows = {"local": measure("local"), **{f"ray {nodes}": measure_on(nodes) for nodes in NODES}}
    print(to_markdown(rows))
    content = {"items": ITEMS, "batches": BATCHES, "answer_s": ANSWER_S, "date": today().isoformat()}
    write_atomic(
        RESULTS, json.dumps({**content, "processor": name_processor(), "rows": rows}, indent=2) + "\n"
    )


def measure_on(nodes: int) -> dict[str, float]:
    """Measure Ray with so many nodes."""
    with cluster(nodes):
        return measure("ray")


def measure(name: str) -> dict[str, float]:
    """Return the seconds of ITEMS batches without work, and of BATCHES that wait: whole, and after the first."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Job(root=Path(folder), stage="empty", batches=range(ITEMS), open_work=open_nothing)
        overhead, _ = timed(lambda: list(engine.run(empty, name)))
        waiting = Job(root=Path(folder), stage="waiting", batches=range(BATCHES), open_work=open_waiting)
        started, arrivals = time.perf_counter(), []
        for _ in engine.run(waiting, name):
            arrivals.append(time.perf_counter())
    rate = (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])
    return {"overhead_s": overhead, "captions_s": arrivals[-1] - started, "captions_per_s": rate}


def open_nothing() -> Callable[[int], Iterator[Row]]:
    """Return a function that does nothing."""
    return lambda number: iter([{"number": number}])


def open_waiting() -> Callable[[int], Iterator[Row]]:
    """Return a captioner that answers after ANSWER_S."""

    def wait(number: int) -> Iterator[Row]:
        time.sleep(ANSWER_S)
        yield {"number": number}

    return wait


def to_markdown(rows: dict[str, dict[str, float]]) -> str:
    """Return the table; rates relative to that of `local`."""
    lines = [
        f"| engine | {ITEMS} empty batches | {BATCHES} batches | rate, relative to local |",
        "|---|---|---|---|",
    ]
    local = rows["local"]["captions_per_s"]
    lines += [
        f"| {name} | {row['overhead_s']:.2f} s | {row['captions_s']:.1f} s | {row['captions_per_s'] / local:.2f} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    with exit_on_error():
        main()
