"""The time of a search as ratios of one run: to the encoding of its texts, and on a busy machine to an idle one.

Each pair is measured one after the other, so that the speed of the machine and other work on it matter little. The
large index has the rows and vectors of the project's again and again, under other names.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from autolora.errors import exit_on_error
from autolora.index.copies import Index, Rows
from autolora.metrics.summary import Headline, update
from autolora.search.retriever import Retriever, open_retriever
from autolora.storage.arrays import Float32Array
from autolora.storage.arrow_values import text_array
from autolora.storage.hashes import hash_value
from bench.timing import cpu_timed, timed, today
from playground import world

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.search"
NUM_PROMPTS, LARGE = 100, 30_000
NUM_PAIRS, LOAD = 9, 4
"""pairs of new processes, alone and beside so many busy ones"""
GOAL_MS, GOAL_COLD_S, GOAL_LOAD = 30, 0.5, 1.2
REQUEST = (
    "with soft light from one side, in a quiet place at the end of a long day in autumn, seen from above"
)
ENCODERS = ("text_encoder", "_sentences")
"""attributes of a retriever"""


class TimedEncoder:
    """A text encoder that adds up the CPU seconds of its calls."""

    def __init__(self, encoder: Any) -> None:
        self.encoder, self.seconds = encoder, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.encoder, name)

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the vectors of texts."""
        vectors: Float32Array
        seconds, vectors = cpu_timed(lambda: self.encoder.encode(texts))
        self.seconds += seconds
        return vectors


def main() -> None:
    """Print the ratios, and the seconds that they are made of; write metrics/details.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="repository after `make demo`")
    root = parser.parse_args().root.absolute()
    headlines = [*measure_running(open_retriever(root)), *measure_cold(root)]
    update(ROOT, COMMAND, today(), headlines)


def prompts() -> list[str]:
    """Return distinct prompts: every combination of objects and colors, up to a maximum number."""
    combinations = product(world.BASE_OBJECTS + world.UNSEEN_OBJECTS, world.COLOURS)
    return [f"a {color} {thing}" for thing, color in combinations][:NUM_PROMPTS]


def measure_running(retriever: Retriever) -> Iterator[Headline]:
    """Print what a search takes relative to the encoding of its texts alone, in the project's and in a large index."""
    large = retriever.with_index(enlarge(retriever.index, LARGE))
    for searched, suffix in ((retriever, ""), (large, f"_{LARGE}")):
        seconds, ratios = measure_searches(searched, prompts())
        _, of_requests = measure_searches(searched, [f"{prompt} {REQUEST}" for prompt in prompts()])
        median, p95 = statistics.median(seconds), float(np.percentile(seconds, 95))
        short, long = statistics.median(ratios), statistics.median(of_requests)
        print(
            f"search in a running process, {len(searched.index.rows):,} adapters, {len(seconds)} prompts: median "
            f"{median * 1e3:.1f} ms, 95th percentile {p95 * 1e3:.1f} ms; {short:.2f} times the CPU seconds of encoding "
            f"its texts alone, {long:.2f} times for requests of {len(REQUEST.split()) + 3} words"
        )
        for name, ratio in (("search_ratio", short), ("request_ratio", long)):
            yield Headline(name=f"bench.{name}{suffix}", value=ratio, n=len(ratios), better="lower")
        milliseconds = {} if suffix else {"search": median * 1e3, "search_p95": p95 * 1e3}
        for name, value in milliseconds.items():
            number = len(seconds)
            yield Headline(
                name=f"bench.{name}_milliseconds", value=value, n=number, goal=GOAL_MS, better="lower"
            )


def measure_searches(retriever: Retriever, texts: Sequence[str]) -> tuple[list[float], list[float]]:
    """Return the seconds of searches, and the ratios of their CPU seconds to those of the text encoders within them."""
    retriever.search("a warm-up")
    encoders = [TimedEncoder(getattr(retriever, name)) for name in ENCODERS]
    for name, encoder in zip(ENCODERS, encoders, strict=True):
        vars(retriever)[name] = encoder
    seconds, ratios = [], []
    for text in texts:
        before = sum(encoder.seconds for encoder in encoders)
        elapsed, (cpu, _) = timed(lambda: cpu_timed(lambda: retriever.search(text)))  # noqa: B023 (called at once)
        seconds.append(elapsed)
        ratios.append(cpu / (sum(encoder.seconds for encoder in encoders) - before))
    return seconds, ratios


def enlarge(index: Index, number: int) -> Index:
    """Return an index of so many rows: those of another one repeated, with names of their own."""
    columns, rows = index.rows.columns, np.arange(number) % len(index.rows)
    names = {
        "sha256": [hash_value(["adapter", row]) for row in range(number)],
        "id": [f"author{row}/adapter-{row}" for row in range(number)],
    }
    table = columns.take(rows)
    for name, texts in names.items():
        table = table.set_column(table.column_names.index(name), name, text_array(texts))
    arrays = {field.name: getattr(index, field.name) for field in fields(index)}
    repeated: dict[str, Any] = {
        name: array[rows]
        for name, array in arrays.items()
        if isinstance(array, np.ndarray) and len(array) == len(index.rows)
    }
    return replace(index, rows=Rows(table), **repeated)


def measure_cold(root: Path) -> Iterator[Headline]:
    """Print the seconds of `autolora search` as a new process, and its CPU seconds beside others relative to alone."""
    pairs = []
    for _ in range(NUM_PAIRS):
        alone = measure_process(root)
        with busy_processes(LOAD):
            pairs.append((alone, measure_process(root)))
    seconds, cpu = (statistics.median(alone[what] for alone, _ in pairs) for what in (0, 1))
    beside = statistics.median(loaded[1] for _, loaded in pairs)
    ratio = statistics.median(loaded[1] / alone[1] for alone, loaded in pairs)
    print(
        f"search as a new process, {NUM_PAIRS} pairs: median {seconds:.2f} s (goal {GOAL_COLD_S} s), {cpu:.2f} CPU "
        f"seconds; {beside:.2f} beside {LOAD} busy processes, {ratio:.2f} times as many (goal {GOAL_LOAD})"
    )
    for name, value, goal in (
        ("cold_search_seconds", seconds, GOAL_COLD_S),
        ("cold_search_load_ratio", ratio, GOAL_LOAD),
    ):
        yield Headline(name=f"bench.{name}", value=value, n=NUM_PAIRS, goal=goal, better="lower")


def measure_process(root: Path) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of `autolora search` as a new process."""
    # -P: without the root's own code
    command = [sys.executable, "-P", "-m", "autolora", "search", "a red cat"]
    environment, before = search_environment(), children_cpu()
    seconds, _ = timed(
        lambda: subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True)
    )
    return seconds, children_cpu() - before


def search_environment() -> dict[str, str]:
    """Return the environment without settings of threads, and with this repository's code."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return kept | {"PYTHONPATH": str(ROOT)}


def children_cpu() -> float:
    """Return the CPU seconds of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """Keep processes busy until the block ends."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    with exit_on_error():
        main()
