"""The cost of reading and sketching a full FLUX.1-dev LoRA, relative to hashing and plainly reading the same file.

Times are CPU seconds of one thread, which other work on the machine affects little. Every round runs each step once;
a ratio is the median of the rounds' own ratios. The file is in the page cache. `sketch and norm` is what the pool
does: it computes the exact ‖ΔW‖ in the same pass as the sketch.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from autolora.lora.read import read
from autolora.lora.sketch import SketchSpec, sketch, sketch_and_norm
from autolora.metrics.summary import Headline, update
from autolora.params import load
from autolora.slots import Slot, slots
from autolora.storage.hashes import hash_file
from bench.costs import PROFILE, name_processor, read_and_sketch
from bench.synthetic import FLUX_DEV
from bench.timing import cpu_timed, today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.reading"
RANKS = (16, 64)
GOAL_RATIO = 2
ROUNDS = 5
PROCESSES = 2
ADAPTERS = 4
"""adapters that each process reads"""
BLOCK_BYTES = 1 << 20
Seconds = Mapping[str, float]
"""step -> CPU seconds"""


def main() -> None:
    """Print seconds, ratios, peak memory and adapters per minute by rank; write metrics/summary.json."""
    torch.set_num_threads(1)
    print(
        f"one thread of {name_processor()}, torch {torch.__version__}; the goal is a ratio of at most {GOAL_RATIO}"
    )
    rows: list[Headline] = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in RANKS:
            rows += measure(write_lora(Path(folder) / f"{rank}.safetensors", rank), rank)
    update(ROOT, COMMAND, today(), rows)


def measure(path: Path, rank: int) -> list[Headline]:
    """Print one line about a file; return the rows of metrics/summary.json."""
    known, params = slots(FLUX_DEV), load(PROFILE)
    size, megabytes = params.pool.sketch_size, path.stat().st_size / 1e6
    rounds = measure_rounds(path, known, size)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, peak, _ = pool.apply(read_and_sketch, (path, known, size))
    medians = {step: statistics.median(row[step] for row in rounds) for step in rounds[0]}
    ratio, ratio_with_norm = relative_cost(rounds, "sketch"), relative_cost(rounds, "sketch and norm")
    per_minute = count_adapters(path)
    print(
        f"rank {rank}, {len(known)} linears, {megabytes:.0f} MB: "
        f"{', '.join(f'{step} {median:.3f} s' for step, median in medians.items())}; "
        f"(read + sketch) / (hash + plain read) {ratio:.2f}, with norm {ratio_with_norm:.2f}; peak memory "
        f"{peak - before:.0f} MB above the process's own, the mapped file included; "
        f"{per_minute:.0f} adapters per minute in {PROCESSES} processes"
    )
    return [
        Headline(
            name=f"bench.read_and_sketch_ratio_rank_{rank}",
            value=ratio,
            n=ROUNDS,
            goal=GOAL_RATIO,
            better="lower",
        ),
        Headline(
            name=f"bench.read_sketch_and_norm_ratio_rank_{rank}",
            value=ratio_with_norm,
            n=ROUNDS,
            better="lower",
        ),
        Headline(name=f"bench.adapters_per_minute_rank_{rank}", value=per_minute, n=PROCESSES * ADAPTERS),
    ]


def relative_cost(rounds: Sequence[Seconds], step: str) -> float:
    """Return the median over rounds of (read + step) / (hash + plain read)."""
    return statistics.median((row["read"] + row[step]) / (row["hash"] + row["plain read"]) for row in rounds)


def measure_rounds(path: Path, known: tuple[Slot, ...], size: int) -> list[Seconds]:
    """Return the CPU seconds of each step, for every round."""
    bounds, spec = load(PROFILE).pool, SketchSpec(size)
    lora = read(path, known, bounds).lora
    sketch(lora, known, spec)  # the sketch's random signs are created once per process
    steps: dict[str, Callable[[], object]] = {
        "hash": partial(hash_file, path),
        "plain read": partial(read_plainly, path),
        "read": partial(read, path, known, bounds),
        "sketch": partial(sketch, lora, known, spec),
        "sketch and norm": partial(sketch_and_norm, lora, known, spec),
    }
    return [{name: cpu_timed(step)[0] for name, step in steps.items()} for _ in range(ROUNDS)]


def read_plainly(path: Path) -> None:
    """Read all bytes of a file."""
    block = bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(block):
            pass


def count_adapters(path: Path) -> float:
    """Return how many adapters per minute PROCESSES processes hash, read, sketch and measure, by the clock."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(process_file, [(path, 1)] * PROCESSES)  # each creates its random signs first
        started = time.perf_counter()
        pool.starmap(process_file, [(path, ADAPTERS)] * PROCESSES, chunksize=1)
        return 60 * PROCESSES * ADAPTERS / (time.perf_counter() - started)


def process_file(path: Path, times: int) -> None:
    """Hash, read and sketch a file `times` times, as the pool does once."""
    torch.set_num_threads(1)
    known, bounds = slots(FLUX_DEV), load(PROFILE).pool
    for _ in range(times):
        hash_file(path)
        lora = read(path, known, bounds).lora
        sketch_and_norm(lora, known, SketchSpec(bounds.sketch_size))


def write_lora(path: Path, rank: int) -> Path:
    """Write a LoRA of every linear of FLUX.1-dev in bfloat16."""
    generator = torch.Generator().manual_seed(rank)
    tensors = {}
    for slot in slots(FLUX_DEV):
        for name, shape in (("A", (rank, slot.d_in)), ("B", (slot.d_out, rank))):
            values = torch.randn(shape, generator=generator) / 100
            tensors[f"transformer.{slot.name}.lora_{name}.weight"] = values.bfloat16()
    save_file(tensors, path)
    return path


if __name__ == "__main__":
    main()
