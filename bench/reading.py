"""The cost of reading and sketching a full FLUX.1-dev LoRA, relative to hashing and plainly reading the same file.

Times are CPU seconds of one thread, which other work on the machine affects little. Every round runs each step once;
a ratio is the median of the rounds' own ratios. The file is in the page cache, and every read maps it anew. `read and
sketch` is what the pool does: verdict, sketch and norm. `read` alone checks the values in a pass of its own.

The goals assume a processor that has instructions for SHA-256: without them hashing takes several times as long.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from autolora.errors import exit_on_error
from autolora.lora.read import read, read_and_sketch
from autolora.lora.sketch import SketchSpec
from autolora.lora.slots import Slot, slots
from autolora.metrics.summary import Headline, update
from autolora.models import FLUX_1_DEV_TRANSFORMER
from autolora.params import load
from autolora.storage.hashes import hash_file
from bench.timing import cpu_timed, name_processor, today

ROOT = Path(__file__).parents[1]
PROFILE = ROOT / "profiles" / "flux.1-dev.yaml"
COMMAND = "python -m bench.reading"
GOALS = {16: 1.5, 64: 1.1}
"""rank -> highest ratio"""
SHA_FLAGS = {"sha_ni", "sha2"}
"""names of the instructions in /proc/cpuinfo, on x86 and on Arm"""
ROUNDS = 5
PROCESSES = 2
ADAPTERS = 4
"""adapters that each process reads"""
BLOCK_BYTES = 1 << 20
Seconds = Mapping[str, float]
"""step -> CPU seconds"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print seconds, ratios, peak memory and adapters per minute by rank; write metrics/details.json."""
    parser = argparse.ArgumentParser(prog="python -m bench.reading", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="do not write metrics/details.json")
    is_dry_run = parser.parse_args(arguments).dry_run
    torch.set_num_threads(1)
    instructions = "with" if has_sha_instructions() else "without"
    print(f"one thread of {name_processor()}, {instructions} SHA instructions, torch {torch.__version__}")
    rows: list[Headline] = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in GOALS:
            rows += measure(write_lora(Path(folder) / f"{rank}.safetensors", rank), rank)
    if not is_dry_run:
        update(ROOT, COMMAND, today(), rows)


def has_sha_instructions() -> bool:
    """Return whether the processor has instructions for SHA-256; False if /proc/cpuinfo does not exist."""
    info = Path("/proc/cpuinfo")
    return info.exists() and bool(SHA_FLAGS & set(info.read_text().split()))


def measure(path: Path, rank: int) -> list[Headline]:
    """Print one line about a file; return the rows of metrics/details.json."""
    known, params = slots(FLUX_1_DEV_TRANSFORMER), load(PROFILE)
    size, megabytes = params.pool.sketch_size, path.stat().st_size / 1e6
    rounds = measure_rounds(path, known, size)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        before, peak = pool.apply(measure_peak, (path, known, size))
    medians = {step: statistics.median(row[step] for row in rounds) for step in rounds[0]}
    ratio, per_minute = relative_cost(rounds), count_adapters(path)
    print(
        f"rank {rank}, {len(known)} linears, {megabytes:.0f} MB: "
        f"{', '.join(f'{step} {median:.3f} s' for step, median in medians.items())}; "
        f"read and sketch / (hash + plain read) {ratio:.2f}, the goal is at most {GOALS[rank]}; peak memory "
        f"{peak - before:.0f} MB above the process's own, the mapped file included; "
        f"{per_minute:.0f} adapters per minute in {PROCESSES} processes"
    )
    return [
        Headline(
            name=f"bench.read_and_sketch_ratio_rank_{rank}",
            value=ratio,
            n=ROUNDS,
            goal=GOALS[rank],
            better="lower",
        ),
        Headline(name=f"bench.adapters_per_minute_rank_{rank}", value=per_minute, n=PROCESSES * ADAPTERS),
    ]


def relative_cost(rounds: Sequence[Seconds]) -> float:
    """Return the median over rounds of read and sketch / (hash + plain read)."""
    return statistics.median(row["read and sketch"] / (row["hash"] + row["plain read"]) for row in rounds)


def measure_rounds(path: Path, known: tuple[Slot, ...], size: int) -> list[Seconds]:
    """Return the CPU seconds of each step, for every round."""
    bounds, spec = load(PROFILE).pool, SketchSpec(size)
    read_and_sketch(path, known, bounds, spec)  # the sketch's random signs are created once per process
    steps: dict[str, Callable[[], object]] = {
        "hash": partial(hash_file, path),
        "plain read": partial(read_plainly, path),
        "read": partial(read, path, known, bounds),
        "read and sketch": lambda: read_and_sketch(path, known, bounds, spec)[1].norm,
    }
    return [{name: cpu_timed(step)[0] for name, step in steps.items()} for _ in range(ROUNDS)]


def measure_peak(path: Path, known: tuple[Slot, ...], size: int) -> tuple[float, float]:
    """Return this process's peak memory (MB) before and after reading and sketching a file."""
    torch.set_num_threads(1)
    bounds, before = load(PROFILE).pool, _peak()
    read_and_sketch(path, known, bounds, SketchSpec(size))
    return before, _peak()


def _peak() -> float:
    status = Path("/proc/self/status").read_text()  # unlike getrusage, not inherited from the parent process
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e6


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
    known, bounds = slots(FLUX_1_DEV_TRANSFORMER), load(PROFILE).pool
    for _ in range(times):
        hash_file(path)
        read_and_sketch(path, known, bounds, SketchSpec(bounds.sketch_size))


def write_lora(path: Path, rank: int) -> Path:
    """Write a LoRA of every linear of FLUX.1-dev in bfloat16."""
    generator = torch.Generator().manual_seed(rank)
    tensors = {}
    for slot in slots(FLUX_1_DEV_TRANSFORMER):
        for name, shape in (("A", (rank, slot.d_in)), ("B", (slot.d_out, rank))):
            values = torch.randn(shape, generator=generator) / 100
            tensors[f"transformer.{slot.name}.lora_{name}.weight"] = values.bfloat16()
    save_file(tensors, path)
    return path


if __name__ == "__main__":
    with exit_on_error():
        main()
