"""A search: in Python, with its encoder resident, against the parts it is made of; and as a process, cold."""

import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from itertools import product
from pathlib import Path

import lancedb
import numpy as np

from autolora import models
from autolora.index.served import copy_path
from autolora.index.store import TABLE
from autolora.params import load
from autolora.retrieval import open_retriever
from bench.timing import timed
from playground import world

ROOT = Path(__file__).parents[1]
K, NUM_PROMPTS, NUM_PROCESSES = 3, 100, 5
GOAL_MS, GOAL_COLD_S = 30, 5
LARGEST = 6
"""packages named in the breakdown of a process"""
IMPORT = re.compile(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", re.M)
"""a line of python -X importtime: microseconds of a module itself, and its name"""


def main() -> None:
    """Print what a search takes in Python and as a process."""
    resident()
    cold()


def prompts() -> list[str]:
    """Return distinct prompts, objects and colours in turn."""
    things = product(world.BASE_OBJECTS + world.UNSEEN_OBJECTS, world.COLOURS)
    return [f"a {colour} {thing}" for thing, colour in things][:NUM_PROMPTS]


def resident() -> None:
    """Print milliseconds a search, the text encoder's share, and the nearest vectors alone, by two ways."""
    retriever = open_retriever(ROOT)
    encoder = models.load_text_encoder(load(ROOT / "params.yaml").models)
    index = retriever.index
    table = lancedb.connect(copy_path(ROOT, index.digest)).open_table(TABLE)

    def search_lance(query: np.ndarray) -> object:
        found = table.search(query).distance_type("cosine").limit(K).select(["sha256", "_distance"])
        return found.bypass_vector_index().to_list()

    ours, text, product_, scan = [], [], [], []
    query = index.vectors[0]
    search_lance(query), retriever.search("a warm start", k=K), encoder.encode(["a warm start"])
    for prompt in prompts():
        ours.append(timed(lambda: retriever.search(prompt, k=K))[0])  # noqa: B023 (called at once)
        text.append(timed(lambda: encoder.encode([prompt]))[0])  # noqa: B023
        product_.append(timed(lambda: np.argsort(-(index.vectors @ query), kind="stable")[:K])[0])
        scan.append(timed(lambda: search_lance(query))[0])
    median = statistics.median(ours)
    print(
        f"search, {len(index.rows)} adapters, {len(ours)} prompts: median {median * 1e3:.1f} ms, "
        f"p95 {np.percentile(ours, 95) * 1e3:.1f} ms (goal {GOAL_MS}); text encoder alone "
        f"{statistics.median(text) * 1e3:.1f} ms, {statistics.median(text) / median:.0%} of it; nearest vectors alone: "
        f"matrix product {statistics.median(product_) * 1e3:.3f} ms, LanceDB's exact scan "
        f"{statistics.median(scan) * 1e3:.2f} ms, {statistics.median(scan) / statistics.median(product_):.0f} times"
    )


def cold() -> None:
    """Print seconds that `autolora search` takes as a process, and which packages' imports take how much."""
    seconds = [timed(search_process)[0] for _ in range(NUM_PROCESSES)]
    bare = timed(lambda: subprocess.run([sys.executable, "-c", ""], check=True))[0]
    total, done = timed(lambda: search_process("-X", "importtime"))
    shares = imported(done.stderr)
    named = ", ".join(f"{name} {spent:.2f}" for name, spent in shares.most_common(LARGEST))
    print(
        f"search, cold: median {statistics.median(seconds):.2f} s of {NUM_PROCESSES} processes (goal {GOAL_COLD_S}); "
        f"Python itself {bare:.2f} s; of {total:.2f} s with -X importtime, imports {shares.total():.2f} s ({named})"
    )


def search_process(*options: str) -> subprocess.CompletedProcess[str]:
    """Search from the command line, in a Python process with these options."""
    command = [sys.executable, *options, "-m", "autolora", "search", "a red cat", "--json"]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), text=True, capture_output=True, check=True)


def imported(report: str) -> Counter[str]:
    """Return the seconds that the modules of each package took by themselves, out of -X importtime's report."""
    seconds: Counter[str] = Counter()
    for micros, module in IMPORT.findall(report):
        seconds[module.partition(".")[0]] += int(micros) / 1e6  # type: ignore[assignment]  # a sum of floats
    return seconds


if __name__ == "__main__":
    main()
