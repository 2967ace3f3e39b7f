"""Reading and sketching a full FLUX.1-dev LoRA against hashing the same file and reading it from end to end.

Processor's seconds of one thread, so that what else the machine does matters less; every round takes all of them in
turn; a ratio is the median of the rounds' own ratios. The file lies in the page cache. `sketch and norm` is what the
pool does: the exact ‖ΔW‖ in the pass of the sketch.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from autolora.lora.read import read
from autolora.lora.sketch import SketchSpec, sketch, sketch_and_norm
from autolora.params import load
from autolora.slots import Slot, slots
from autolora.storage.files import hash_file
from bench.costs import PROFILE, name_processor, weigh
from bench.synthetic import FLUX_DEV
from bench.timing import spend

RANKS = (16, 64)
ROUNDS = 5
PROCESSES = 2
ADAPTERS = 4
"""that each process takes in"""
BLOCK = 1 << 20
Row = dict[str, float]


def main() -> None:
    """Print seconds and ratios by rank, the peak memory, and how many adapters two processes take in."""
    torch.set_num_threads(1)
    print(f"one thread of {name_processor()}, torch {torch.__version__}; the goal is a ratio of 2")
    with tempfile.TemporaryDirectory() as folder:
        for rank in RANKS:
            print(measure(write_lora(Path(folder) / f"{rank}.safetensors", rank), rank))


def measure(path: Path, rank: int) -> str:
    """Return one line about a file."""
    known, params = slots(FLUX_DEV), load(PROFILE)
    size, megabytes = params.pool.sketch_size, path.stat().st_size / 1e6
    rounds = take_turns(path, known, size)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, peak, _ = pool.apply(weigh, (path, known, size))
    parts = ", ".join(f"{name} {statistics.median(row[name] for row in rounds):.3f}" for name in rounds[0])
    return (
        f"rank {rank}, {len(known)} linears, {megabytes:.0f} MB: {parts} s; read and sketch / hash and plain read: "
        f"{compare(rounds, 'sketch'):.2f}, with norm {compare(rounds, 'sketch and norm'):.2f}; "
        f"peak memory {peak - before:.0f} MB over the process's own, the mapped file included; "
        f"{count_adapters(path):.0f} adapters a minute in {PROCESSES} processes"
    )


def compare(rounds: list[Row], made: str) -> float:
    """Return what reading and making a sketch costs over hashing and plain reading: the median of the rounds."""
    return statistics.median((row["read"] + row[made]) / (row["hash"] + row["plain read"]) for row in rounds)


def take_turns(path: Path, known: tuple[Slot, ...], size: int) -> list[Row]:
    """Return the processor's seconds of each step, of every round."""
    bounds, spec = load(PROFILE).pool, SketchSpec(size)
    lora = read(path, known, bounds).lora
    sketch(lora, known, spec)  # the sketch's random bits are made once a process
    steps: dict[str, Callable[[], object]] = {
        "hash": partial(hash_file, path),
        "plain read": partial(read_plainly, path),
        "read": partial(read, path, known, bounds),
        "sketch": partial(sketch, lora, known, spec),
        "sketch and norm": partial(sketch_and_norm, lora, known, spec),
    }
    return [{name: spend(step)[0] for name, step in steps.items()} for _ in range(ROUNDS)]


def read_plainly(path: Path) -> None:
    """Read a file from end to end."""
    block = bytearray(BLOCK)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(block):
            pass


def count_adapters(path: Path) -> float:
    """Return how many adapters a minute PROCESSES processes hash, read, sketch and measure, by the clock."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(take_in, [(path, 1)] * PROCESSES)  # each begins by making its random bits
        started = time.perf_counter()
        pool.starmap(take_in, [(path, ADAPTERS)] * PROCESSES, chunksize=1)
        return 60 * PROCESSES * ADAPTERS / (time.perf_counter() - started)


def take_in(path: Path, times: int) -> None:
    """Do what the pool does with one file."""
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
            drawn = torch.randn(shape, generator=generator) / 100
            tensors[f"transformer.{slot.name}.lora_{name}.weight"] = drawn.bfloat16()
    save_file(tensors, path)
    return path


if __name__ == "__main__":
    main()
