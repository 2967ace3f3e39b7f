"""The time of a search: in a running Python process, split into its parts, and as a new process."""

import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import lancedb
import numpy as np

from autolora.errors import exit_on_error
from autolora.index.store import TABLE, folder
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.search.retriever import open_retriever
from autolora.text_encoder.clip import load_numpy_text_encoder
from bench.timing import timed, today
from playground import world

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.search"
K, NUM_PROMPTS, NUM_PROCESSES = 3, 100, 5
GOAL_MS, GOAL_COLD_S = 30, 0.5
LARGEST_PACKAGES = 6
"""packages named in the breakdown of a process"""
IMPORT = re.compile(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", re.M)
"""a line of python -X importtime: microseconds of a module itself, and its name"""


def main() -> None:
    """Print the time of a search in a running process and as a new one; write metrics/details.json."""
    update(ROOT, COMMAND, today(), [*measure_running(), *measure_cold()])


def prompts() -> list[str]:
    """Return distinct prompts: every combination of objects and colors, up to a maximum number."""
    combinations = product(world.BASE_OBJECTS + world.UNSEEN_OBJECTS, world.COLOURS)
    return [f"a {color} {thing}" for thing, color in combinations][:NUM_PROMPTS]


def measure_running() -> Iterator[Headline]:
    """Print milliseconds per search, the text encoder's share, and two ways to find the nearest vectors."""
    retriever = open_retriever(ROOT)
    encoder = load_numpy_text_encoder(ROOT, load(ROOT / "params.yaml").models)
    index = retriever.index
    table = lancedb.connect(folder(ROOT)).open_table(TABLE)

    def search_lance(query: np.ndarray) -> object:
        search = (
            table.search(query, vector_column_name="weights_vector")
            .distance_type("cosine")
            .limit(K)
            .select(["sha256", "_distance"])
        )
        return search.bypass_vector_index().to_list()

    searches, texts, products, scans = [], [], [], []
    query = index.weights_directions[0]
    search_lance(query), retriever.search("a warm-up", k=K), encoder.encode(["a warm-up"])
    for prompt in prompts():
        searches.append(timed(lambda: retriever.search(prompt, k=K))[0])  # noqa: B023 (called at once)
        texts.append(timed(lambda: encoder.encode([prompt]))[0])  # noqa: B023
        products.append(timed(lambda: np.argsort(-(index.weights_directions @ query), kind="stable")[:K])[0])
        scans.append(timed(lambda: search_lance(query))[0])
    median, p95 = statistics.median(searches), float(np.percentile(searches, 95))
    text, product_, scan = (statistics.median(times) for times in (texts, products, scans))
    print(
        f"search in a running process, {len(index.rows)} adapters, {len(searches)} prompts: median "
        f"{median * 1e3:.1f} ms, 95th percentile {p95 * 1e3:.1f} ms (goal {GOAL_MS} ms); text encoder alone "
        f"{text * 1e3:.1f} ms, {text / median:.0%} of it; nearest vectors alone: matrix product "
        f"{product_ * 1e3:.3f} ms, LanceDB's exact scan {scan * 1e3:.2f} ms, {scan / product_:.0f} times as long"
    )
    for name, seconds in (("search_milliseconds", median), ("search_p95_milliseconds", p95)):
        yield Headline(
            name=f"bench.{name}", value=seconds * 1e3, n=len(searches), goal=GOAL_MS, better="lower"
        )


def measure_cold() -> Iterator[Headline]:
    """Print the seconds of `autolora search` as a new process, and the packages that take longest to import."""
    seconds = [timed(search_process)[0] for _ in range(NUM_PROCESSES)]
    bare = timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True))[0]
    total, process = timed(lambda: search_process("-X", "importtime"))
    packages = import_seconds(process.stderr)
    largest = ", ".join(f"{name} {spent:.2f}" for name, spent in packages.most_common(LARGEST_PACKAGES))
    median = statistics.median(seconds)
    print(
        f"search as a new process: median {median:.2f} s of {NUM_PROCESSES} processes (goal {GOAL_COLD_S} s); "
        f"Python alone {bare:.2f} s; of {total:.2f} s with -X importtime, imports take {packages.total():.2f} s "
        f"({largest})"
    )
    yield Headline(
        name="bench.cold_search_seconds", value=median, n=NUM_PROCESSES, goal=GOAL_COLD_S, better="lower"
    )


def search_process(*options: str) -> subprocess.CompletedProcess[str]:
    """Search from the command line, in a Python process with these options."""
    command = [sys.executable, *options, "-m", "autolora", "search", "a red cat"]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), text=True, capture_output=True, check=True)


def import_seconds(report: str) -> Counter[str]:
    """Return package -> seconds that its own modules take, from the output of python -X importtime."""
    seconds: Counter[str] = Counter()
    for micros, module in IMPORT.findall(report):
        seconds[module.partition(".")[0]] += int(micros) / 1e6  # type: ignore[assignment]  # a sum of floats
    return seconds


if __name__ == "__main__":
    with exit_on_error():
        main()
