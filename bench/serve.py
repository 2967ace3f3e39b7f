"""`autolora serve` with 30,000 synthetic adapters: start, memory, first paint, and searches by 20 users at a time.

The text encoder is the playground's, whose features a random map brings to the width of CLIP-L. Each user sends one
search after the other, each with a new prompt, from a process beside the server's.
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from urllib.parse import urlencode

import numpy as np
import psutil
import pyarrow as pa
import yaml

from autolora.errors import exit_on_error
from autolora.index.content import Content, write_content
from autolora.index.copies import HASHES, TextMap
from autolora.index.served import copy_path, served_path
from autolora.index.store import EXACT_COLUMNS
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.storage.files import write_atomic
from autolora.storage.hashes import canonical_json, hash_files, hash_value
from autolora.text_encoder.clip import NumpyTextEncoder, load_numpy_text_encoder
from bench.search import prompts
from bench.synthetic_index import SEED, WIDTH, draw_vectors
from bench.timing import today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.serve"
ADAPTERS, USERS, SEARCHES = 30_000, 20, 20
"""SEARCHES: of each user"""
GOAL_START_S = 5
DIGEST = "0" * 64
LICENSES = ("mit", "apache-2.0", "other", None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the numbers; write metrics/details.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    parser.add_argument("--adapters", type=int, default=ADAPTERS)
    parser.add_argument("--dry-run", action="store_true", help="do not write metrics/details.json")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_project(root, options.adapters)
        rows = list(measure(root))
    if not options.dry_run:
        update(ROOT, COMMAND, today(), rows)


def write_project(root: Path, count: int) -> None:
    """Write a project whose released index has `count` synthetic adapters."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["models"]["pipeline"] = str(ROOT / content["models"]["pipeline"])
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    (root / "dvc.yaml").touch()
    encoder = load_numpy_text_encoder(root, load(root / "params.yaml").models)
    folder = copy_path(root, DIGEST)
    folder.mkdir(parents=True)
    write_content(folder, synthetic_content(count, encoder))
    files = hash_files(folder)
    write_atomic(folder / HASHES, canonical_json({"files": files, "sha256": hash_value(files)}))
    write_atomic(served_path(root), DIGEST)


def synthetic_content(count: int, encoder: NumpyTextEncoder) -> Content:
    """Return an index of synthetic adapters that texts of this encoder can be compared with."""
    vectors = draw_vectors(count)
    rng = np.random.default_rng(SEED)
    arrays = {name: pa.nulls(count, kind) for name, kind in EXACT_COLUMNS.items()}
    arrays |= {
        "sha256": pa.array([f"{number:064x}" for number in range(count)]),
        "hub": pa.array(["civitai"] * count),
        "id": pa.array([f"author{number % 997}/adapter-{number}" for number in range(count)]),
        "file": pa.array([f"adapter-{number}.safetensors" for number in range(count)]),
        "license": pa.array([LICENSES[number % len(LICENSES)] for number in range(count)], pa.string()),
        "nsfw": pa.array(rng.random(count) < 0.1),
        "trigger_words": pa.array([[f"word{number}"] for number in range(count)]),
        "size": pa.array(rng.integers(10**7, 10**9, count)),
        "rank_max": pa.array(rng.choice([4, 16, 32, 64], count)),
        "base": pa.array(["flux.1-dev"] * count),
        "encoder_weights": pa.array([DIGEST] * count),
        "uses_captions": pa.array([False] * count),
        "first_seen": pa.array(rng.integers(20_000, 20_700, count, dtype=np.int32), pa.int32()).cast(
            pa.date32()
        ),
    }
    width = encoder.width
    matrix = rng.standard_normal((width, WIDTH)).astype(np.float32)
    meta = {"encoder": DIGEST, "text_encoder": encoder.digest, "relevance": None}
    text_map = TextMap(np.zeros(width, np.float32), matrix)
    return Content(pa.table(arrays), {"vector": vectors, "weights_vector": vectors}, meta, text_map)


def measure(root: Path) -> Iterator[Headline]:
    """Print and yield seconds of the start, memory, first paint, and the percentiles of searches."""
    with serving(root) as (process, port, seconds):
        warm_up = search_once(HTTPConnection("127.0.0.1", port, timeout=60), "a warm-up")
        paint = first_paint(port)
        alone = search_all(port, users=1)
        crowded = search_all(port, users=USERS)
        megabytes = psutil.Process(process.pid).memory_full_info().uss / 1e6
    p50, p95 = np.percentile(crowded, [50, 95])
    print(
        f"start {seconds:.2f} s (goal {GOAL_START_S} s), first search {warm_up * 1e3:.0f} ms, memory of its own "
        f"{megabytes:.0f} MB; first paint {paint:.0f} ms; one user: median {np.median(alone) * 1e3:.1f} ms; "
        f"{USERS} users: median {p50 * 1e3:.1f} ms, 95th percentile {p95 * 1e3:.1f} ms, "
        f"{p50 / np.median(alone):.1f} times as long as alone"
    )
    for name, value, count in (
        ("start_seconds", seconds, 1), ("memory_megabytes", megabytes, 1), ("first_paint_milliseconds", paint, 1),
        ("alone_p50_milliseconds", float(np.median(alone)) * 1e3, len(alone)),
        ("p50_milliseconds", p50 * 1e3, len(crowded)), ("p95_milliseconds", p95 * 1e3, len(crowded)),
    ):  # fmt: skip
        goal = GOAL_START_S if name == "start_seconds" else None
        yield Headline(name=f"reach.serve_{name}", value=float(value), n=count, goal=goal, better="lower")


@contextmanager
def serving(root: Path) -> Iterator[tuple[subprocess.Popen[str], int, float]]:
    """Yield the process of the page, its port, and the seconds from its start until it could be opened."""
    command = [sys.executable, "-m", "autolora", "serve", "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("open "))
        port = int(line.split(":")[2].partition("/")[0])
        search_once(HTTPConnection("127.0.0.1", port, timeout=60), "")
        yield process, port, time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def search_once(connection: HTTPConnection, prompt: str) -> float:
    """Return the seconds of one search."""
    started = time.perf_counter()
    connection.request("GET", f"/parts/results?{urlencode({'q': prompt})}")
    answer = connection.getresponse()
    assert answer.status == 200 and b'class="card"' in answer.read()
    return time.perf_counter() - started


def search_all(port: int, users: int) -> list[float]:
    """Return the seconds of the searches of all users, from a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(search_as_users, (port, users))


def search_as_users(port: int, users: int) -> list[float]:
    """Return the seconds of the searches of users that search at the same time."""
    seconds: list[float] = []

    def search_as(user: int) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        for number, prompt in enumerate(prompts()[:SEARCHES]):
            seconds.append(search_once(connection, f"{prompt}, {user} {number}"))

    threads = [Thread(target=search_as, args=(user,)) for user in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds


def first_paint(port: int) -> float:
    """Return the milliseconds until Chromium first shows content of the page, from a cold cache."""
    from playwright.sync_api import sync_playwright

    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=options)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/?q=a+red+cat")
        page.wait_for_timeout(500)
        script = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
        milliseconds = float(page.evaluate(script))
        browser.close()
    return milliseconds


if __name__ == "__main__":
    with exit_on_error():
        main()
