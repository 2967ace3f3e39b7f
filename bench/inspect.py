"""How long `autolora inspect` takes: files per second on the playground, and relative to reading a file's bytes.

The file has the shapes of FLUX.1-dev at rank 16. An inspection hashes, reads and sketches it in two threads, of which
torch uses one each; the peer hashes it and reads its bytes in one thread, as any tool must that identifies a file.
The same work in two threads is measured too: of one file, hashing beside reading; of a folder, two files at once.
Rounds alternate between both, and a ratio is the median of the rounds' own ratios: by the clock, which depends on
whether a second core is free, and in CPU seconds, which does not.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from autolora.errors import exit_on_error
from autolora.inspection.base_model import BaseModel, open_base_model
from autolora.inspection.description import Describer
from autolora.inspection.files import FoundFile, find_files
from autolora.inspection.inspector import Inspector
from autolora.inspection.setup import open_setup, prepare_process
from autolora.metrics.summary import Headline, update
from autolora.storage.hashes import hash_file
from bench.reading import read_plainly, write_lora
from bench.timing import name_processor, timed, today

ROOT = Path(__file__).parents[1]
COMMAND = "python -m bench.inspect"
PLAYGROUND, ENCODER = Path("playground/pool"), Path("playground/encoder")
RANK = 16
GOAL = 1.3
ROUNDS = 9
THREADS = 2
FILES = 4
"""files of a folder; they have the same content"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The time that a call takes per file."""

    seconds: float
    cpu_seconds: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Print seconds, ratios and files per second; write metrics/details.json."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="do not write metrics/details.json")
    is_dry_run = parser.parse_args(arguments).dry_run
    prepare_process()
    print(f"two threads of {name_processor()}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure_size(write_lora(Path(folder) / "lora.safetensors", RANK))
    rows += measure_playground(ROOT)
    if not is_dry_run:
        update(ROOT, COMMAND, today(), rows)


def measure_size(path: Path) -> list[Headline]:
    """Print one line about a file of FLUX.1-dev's size; return the rows of metrics/details.json."""
    rounds = measure_rounds(path)
    inspected, folder, read = (
        Cost(
            seconds=statistics.median(costs[step].seconds for costs in rounds),
            cpu_seconds=statistics.median(costs[step].cpu_seconds for costs in rounds),
        )
        for step in range(3)
    )
    beside, halves = (
        ratio([(costs[a].seconds, costs[b].seconds) for costs in rounds]) for a, b in ((0, 3), (1, 4))
    )
    one = ratio([(costs[0].seconds, costs[2].seconds) for costs in rounds])
    many = ratio([(costs[1].seconds, costs[2].seconds) for costs in rounds])
    cpu = ratio([(costs[1].cpu_seconds, costs[2].cpu_seconds) for costs in rounds])
    print(
        f"rank {RANK}, {path.stat().st_size / 1e6:.0f} MB: one file {inspected.seconds:.3f} s, per file of a folder "
        f"{folder.seconds:.3f} s ({folder.cpu_seconds:.3f} of CPU), hash and plain read {read.seconds:.3f} s; "
        f"ratios {one:.2f} and {many:.2f}, the goal is at most {GOAL}; CPU {cpu:.2f}; "
        f"relative to hashing and reading in two threads {beside:.2f} and {halves:.2f}"
    )
    names = ("inspect_ratio", "inspect_folder_ratio", "inspect_cpu_ratio")
    goals = (GOAL, GOAL, None)
    return [
        Headline(name=f"reach.{name}", value=value, n=ROUNDS, better="lower", goal=goal)
        for name, value, goal in zip(names, (one, many, cpu), goals, strict=True)
    ]


def measure_rounds(path: Path) -> list[tuple[Cost, ...]]:
    """Return five costs per file: inspection of one file and of a folder; hashing and plainly reading one file in one
    thread, one file in two threads, and a folder in two threads.
    """
    base = open_base_model(None, None)
    files = [FoundFile(path=str(number), location=path, problem="") for number in range(FILES)]

    def inspect(count: int) -> None:
        for inspection in Inspector(base, None).inspect_all(files[:count]):
            assert inspection.accepted

    def read() -> None:
        hash_file(path)
        read_plainly(path)

    def read_beside() -> None:
        with ThreadPoolExecutor(THREADS) as executor:
            hashed, _ = executor.submit(hash_file, path), executor.submit(read_plainly, path)
        assert hashed.result()

    def read_folder() -> None:
        with ThreadPoolExecutor(THREADS) as executor:
            list(executor.map(lambda _: read(), range(FILES)))

    inspect(1)  # the sketch's random signs are created once per process
    return [
        (
            measure_cost(lambda: inspect(1)),
            measure_cost(lambda: inspect(FILES), FILES),
            measure_cost(read),
            measure_cost(read_beside),
            measure_cost(read_folder, FILES),
        )
        for _ in range(ROUNDS)
    ]


def measure_cost(function: Callable[[], None], files: int = 1) -> Cost:
    """Return the cost per file of a call that processes some files."""
    cpu = time.process_time()
    seconds, _ = timed(function)
    return Cost(seconds=seconds / files, cpu_seconds=(time.process_time() - cpu) / files)


def ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the median ratio of pairs."""
    return statistics.median(first / second for first, second in pairs)


def measure_playground(root: Path) -> list[Headline]:
    """Print and return the files per second on the playground: weights alone, and with its published encoder."""
    found = find_files(root / PLAYGROUND)
    setup = open_setup(None, None, pipeline=None, encoder=str(root / ENCODER))
    rows = []
    for name, describer in (("inspect", None), ("inspect_with_words", setup.describer)):
        rate = statistics.median(measure_rate(setup.base, describer, found.files) for _ in range(ROUNDS))
        print(f"{name}: {rate:.0f} files per second ({len(found.files)} files)")
        rows.append(Headline(name=f"reach.{name}_files_per_s", value=rate, n=ROUNDS))
    return rows


def measure_rate(base: BaseModel, describer: Describer | None, files: Sequence[FoundFile]) -> float:
    """Return the files per second of an inspection of all files."""
    inspector = Inspector(base, describer)
    return len(files) / timed(lambda: list(inspector.inspect_all(files)))[0]


if __name__ == "__main__":
    with exit_on_error():
        main()
