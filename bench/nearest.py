"""Nearest vectors in synthetic indexes, with and without filters, beside exact NumPy and FAISS, and LanceDB's defaults.

A search of ours, as one of LanceDB, includes the evaluation of its filter. FAISS is measured if it is installed
(`pip install faiss-cpu`); the project does not need it. The times of one size are of one run: compare within it.
"""

import argparse
import importlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import psutil
import pyarrow as pa
from lancedb.index import IvfFlat

from autolora.errors import exit_on_error
from autolora.index.copies import Index, open_copy
from autolora.metrics.summary import Headline, update
from autolora.storage.arrays import BoolArray, Float32Array
from bench.synthetic_index import WIDTH, condition, draw_queries, draw_vectors, write_synthetic_copy
from bench.timing import cpu_timed, timed, today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.nearest"
FIELD = 30_000
"""adapters that the hubs list together, about"""
SIZES = (FIELD, 100_000)
NUM_QUERIES, K = 200, 10
SHARES = (1.0, 0.01, 0.1, 0.5)
"""of the adapters that pass a filter; 1: no filter"""
GOAL_MS, GOAL_OPEN_S = 10, 1
"""for an index of the size of the field, and for each"""
EXACT, OURS = "NumPy", "ours"

Search = Callable[[Float32Array, float], Iterable[int]]
"""from a query and the share of adapters that pass its filter to the positions of the hits"""


@dataclass(frozen=True, slots=True)
class Result:
    """Times and hits of one way to search, with one filter."""

    seconds: tuple[float, ...]
    cpu_seconds: tuple[float, ...]
    """of this process, which other work on the machine affects little"""
    found: tuple[frozenset[int], ...]
    """positions of the hits"""

    def percentile(self, q: float) -> float:
        """Return milliseconds by the clock."""
        return float(np.percentile(self.seconds, q)) * 1e3

    def recall(self, exact: "Result") -> float:
        """Return the mean share of the exact hits that were found."""
        pairs = zip(exact.found, self.found, strict=True)
        return float(np.mean([len(wanted & found) / len(wanted) for wanted, found in pairs]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the sizes that the command line names; write metrics/details.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapters", type=int, nargs="+", default=SIZES)
    rows: list[Headline] = []
    for size in parser.parse_args(arguments).adapters:
        with tempfile.TemporaryDirectory(prefix="nearest-") as folder:
            rows += measure(size, Path(folder))
    update(ROOT, COMMAND, today(), rows)


def measure(size: int, folder: Path) -> list[Headline]:
    """Print a table of all ways to search an index of a size; return the numbers of ours."""
    queries = draw_queries(NUM_QUERIES)
    seconds, _ = timed(lambda: write_synthetic_copy(folder, draw_vectors(size)))
    opening, index = timed(lambda: open_copy(folder, "synthetic"))
    first, _ = timed(lambda: index.nearest(queries[0], K))
    print(
        f"{size} adapters, {len(queries)} prompts, the {K} nearest: written in {seconds:.1f} s, opened in "
        f"{opening * 1e3:.1f} ms, first search {first * 1e3:.1f} ms"
    )
    results: dict[tuple[str, float], Result] = {}
    for name, search in ways(index, folder):
        for share in SHARES:
            result = results[name, share] = measure_search(search, queries, share)
            print(describe(name, share, result, results[EXACT, share]), flush=True)
        print(f"  {memory()}")
    return list(headlines(size, opening, {share: results[OURS, share] for share in SHARES}))


def ways(index: Index, folder: Path) -> Iterator[tuple[str, Search]]:
    """Yield the name of each way to search, and its function."""

    def search_ours(query: Float32Array, share: float) -> Iterable[int]:
        where = condition(index, share)
        return index.nearest(query, K, None if where is None else index.mask([where]))[0]

    masks = {share: index.mask([condition(index, share) or "TRUE"]) for share in SHARES}
    yield EXACT, numpy_way(index, masks)
    yield OURS, search_ours
    if importlib.util.find_spec("faiss"):
        yield "FAISS, flat", faiss_way(index, masks)
    yield from lance_ways(index, folder)


def numpy_way(index: Index, masks: dict[float, BoolArray]) -> Search:
    """Return a search that compares all vectors with the query and then leaves out those that do not pass."""

    def search(query: Float32Array, share: float) -> Iterable[int]:
        scores = np.where(masks[share], index.vectors @ query, -np.inf)
        positions: Iterable[int] = np.argpartition(-scores, K)[:K]
        return positions

    return search


def lance_ways(index: Index, folder: Path) -> Iterator[tuple[str, Search]]:
    """Yield the search of a LanceDB table without an index, and with an index, both with LanceDB's defaults.

    The default distance, Euclidean, has the order of the cosine, because all vectors have length 1.
    """
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(index.vectors.ravel()), WIDTH)
    columns = {
        "position": np.arange(len(vectors)),
        "size": index.rows.columns.column("size"),
        "vector": vectors,
    }
    table = lancedb.connect(folder / "lance").create_table("adapters", data=pa.table(columns))

    def search(query: Float32Array, share: float) -> Iterable[int]:
        found = table.search(query).limit(K).select(["position", "_distance"])
        where = condition(index, share)
        found = found if where is None else found.where(where)
        positions: Iterable[int] = found.to_arrow().column("position").to_pylist()
        return positions

    yield "LanceDB", search
    seconds, _ = timed(lambda: table.create_index("vector", config=IvfFlat()))
    print(f"LanceDB's index was built in {seconds:.1f} s")
    yield "LanceDB, IVF", search


def faiss_way(index: Index, masks: dict[float, BoolArray]) -> Search:
    """Return an exact search by FAISS."""
    faiss: Any = importlib.import_module("faiss")
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(np.ascontiguousarray(index.vectors))
    bits = {share: np.packbits(mask, bitorder="little") for share, mask in masks.items()}

    def search(query: Float32Array, share: float) -> Iterable[int]:
        selector = None if share == 1 else faiss.IDSelectorBitmap(bits[share])
        options = faiss.SearchParameters(sel=selector)
        positions: Iterable[int] = flat.search(query[None], K, params=options)[1][0]
        return positions

    return search


def measure_search(search: Search, queries: Float32Array, share: float) -> Result:
    """Return the times and hits of a way to search."""
    search(queries[0], share)
    runs = [cpu_timed(partial(timed, partial(search, query, share))) for query in queries]
    return Result(
        seconds=tuple(wall for _, (wall, _) in runs),
        cpu_seconds=tuple(cpu for cpu, _ in runs),
        found=tuple(frozenset(map(int, positions)) for _, (_, positions) in runs),
    )


def describe(name: str, share: float, result: Result, exact: Result) -> str:
    """Return the numbers of a way to search as one line."""
    p50, cpu = result.percentile(50), float(np.percentile(result.cpu_seconds, 99)) * 1e3
    return (
        f"{name:14} {share:4.0%} pass: p50 {p50:8.2f} ms ({p50 / exact.percentile(50):7.3f} of exact), p99 "
        f"{result.percentile(99):8.2f} ms (CPU {cpu:8.2f}), recall@{K} {result.recall(exact):.4f}"
    )


def memory() -> str:
    """Return the memory of this process."""
    info = psutil.Process().memory_info()
    return f"memory: {(info.rss - info.shared) / 1e6:.0f} MB, and {info.shared / 1e6:.0f} MB of mapped files"


def headlines(size: int, opening: float, results: dict[float, Result]) -> Iterator[Headline]:
    """Yield the numbers of our search in an index of a size."""
    prefix, goal = f"bench.nearest_{size // 1000}k", GOAL_MS if size <= FIELD else None
    yield Headline(name=f"{prefix}_open_seconds", value=opening, n=1, goal=GOAL_OPEN_S, better="lower")
    for share, result in results.items():
        name, n = prefix if share == 1 else f"{prefix}_filter_{share * 100:.0f}", len(result.seconds)
        yield Headline(name=f"{name}_p50_ms", value=result.percentile(50), n=n, better="lower")
        yield Headline(name=f"{name}_p99_ms", value=result.percentile(99), n=n, goal=goal, better="lower")


if __name__ == "__main__":
    with exit_on_error():
        main()
