"""Long tests: `make test` runs each with a sample of its seeds, `make soak` with all seeds.

    @pytest.mark.long(full=2000, sample=20)
    def test_lora_is_read_as_written(tmp_path: Path, seed: int) -> None:

The function is called with the seeds 0, 1, 2, ...: the first `sample` seeds, or all `full` seeds with --soak, or the
seed of --seed. `tmp_path` is a new folder per seed; every other fixture is shared by all seeds. --soak continues after
failures, updates metrics/soak.json while it runs, and can be interrupted: the next run on the same code continues.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autolora.storage.files import write_atomic
from autolora.storage.hashes import hash_file

RESULTS = Path("metrics/soak.json")
WRITE_EVERY_S = 1.0
FAILURES = (Exception, pytest.fail.Exception)
ALL_BUT_RESULTS = (".", f":!{RESULTS}")
"""git pathspec"""


@dataclass(slots=True)
class Result:
    """The row of one test in metrics/soak.json."""

    commit: str
    date: str
    hardware: str
    full: int
    count: int = 0
    """number of seeds done, beginning with seed 0"""
    failures: int = 0
    seeds: list[int] = field(default_factory=list)
    """the seeds that failed"""
    seconds: float = 0.0


def run_seeds(call: Callable[[int], None], seeds: range) -> None:
    """Call with each seed; re-raise the first failure with a note that names its seed."""
    for seed in seeds:
        try:
            call(seed)
        except FAILURES as error:
            error.add_note(f"seed {seed}: run it alone with --seed {seed}")
            raise


def soak(call: Callable[[int], None], full: int, name: str, root: Path) -> None:
    """Call with each seed that has not been run on this code yet, and record the progress in metrics/soak.json.

    Raises AssertionError at the end if seeds failed, also in earlier runs.
    """
    result = resume(root, name, full)
    first: BaseException | None = None
    with recording(root, name, result) as record:
        for seed in range(result.count, full):
            started = time.perf_counter()
            try:
                call(seed)
            except FAILURES as error:
                first = first or error
                result.seeds.append(seed)
                write_traceback(root, name, seed, error)
            result.count, result.failures = seed + 1, len(result.seeds)
            result.seconds += time.perf_counter() - started
            record()
    if result.seeds:
        raise AssertionError(f"{result.failures} of {full} seeds failed: {result.seeds}") from first


def write_traceback(root: Path, name: str, seed: int, error: BaseException) -> None:
    """Write the traceback of a failed seed to cache/soak/TEST/SEED.txt."""
    text = "".join(traceback.format_exception(error))
    write_atomic(root / "cache/soak" / re.sub(r"\W+", "-", name) / f"{seed}.txt", text)


def resume(root: Path, name: str, full: int) -> Result:
    """Return the recorded result of a test if code and hardware are the same, else a result without seeds."""
    fresh = Result(commit=commit(root), date=today(), hardware=hardware(), full=full)
    recorded = results(root).get(name, {})
    if any(recorded.get(key) != getattr(fresh, key) for key in ("commit", "hardware")):
        return fresh
    return Result(**{**recorded, "date": fresh.date, "full": full})


@contextmanager
def recording(root: Path, name: str, result: Result) -> Iterator[Callable[[], None]]:
    """Yield a function that writes the result, at most once per WRITE_EVERY_S; write it at the end in any case."""
    written = time.monotonic()

    def write() -> None:
        row = asdict(result) | {"seconds": round(result.seconds, 3)}
        text = json.dumps(dict(sorted({**results(root), name: row}.items())), indent=2)
        write_atomic(root / RESULTS, text + "\n")

    def write_if_due() -> None:
        nonlocal written
        if time.monotonic() - written >= WRITE_EVERY_S:
            write()
            written = time.monotonic()

    try:
        yield write_if_due
    finally:
        write()


def results(root: Path) -> dict[str, dict[str, object]]:
    """Return the content of metrics/soak.json: test -> row."""
    path = root / RESULTS
    rows: dict[str, dict[str, object]] = json.loads(path.read_text()) if path.exists() else {}
    return rows


def commit(root: Path) -> str:
    """Return the last commit that changed more than the results; `+` and a digest follow if changes are uncommitted."""
    sha = git(root, "log", "-1", "--format=%H", "--", *ALL_BUT_RESULTS).decode().strip()
    listed = git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *ALL_BUT_RESULTS)
    names = [name for name in listed.decode().split("\0") if (root / name).is_file()]
    untracked = [f"{name} {hash_file(root / name)}" for name in names]
    changes = git(root, "diff", "--binary", "HEAD", "--", *ALL_BUT_RESULTS) + "\n".join(untracked).encode()
    return f"{sha}+{hashlib.sha256(changes).hexdigest()[:12]}" if changes else sha


def git(root: Path, *arguments: str) -> bytes:
    """Return the standard output of a git command."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=True).stdout


def hardware() -> str:
    """Return the name of the processor and the number of cores that this process may use."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.exists() else None
    return f"{model[1] if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def today() -> str:
    """Return the date in UTC."""
    return datetime.now(UTC).date().isoformat()


def each_seed(item: pytest.Function) -> Callable[[int], None]:
    """Return a function that calls a test with a seed, in a new folder that is removed if the test passes."""
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}

    def call(seed: int) -> None:
        folder = arguments["tmp_path"] / str(seed) if "tmp_path" in arguments else None
        if folder is None:
            item.obj(**arguments | {"seed": seed})
            return
        folder.mkdir()
        item.obj(**arguments | {"seed": seed, "tmp_path": folder})
        shutil.rmtree(folder, ignore_errors=True)  # a child of a killed process may still write there

    return call
