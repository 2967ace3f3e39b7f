"""Tests in two sizes: a sample of their seeds in `make test`, all of them in `make soak`, which can be interrupted.

    @pytest.mark.long(full=2000, sample=20)
    def test_any_lora_is_read_as_it_was_written(tmp_path: Path, seed: int) -> None:

The function is called with the seeds 0, 1, 2, ...: the first `sample` of them, or all `full` with --soak, or one
with --seed. `tmp_path` is a new folder for each seed; every other fixture lives through all of them. --soak keeps
going after a failure, writes metrics/soak.json as it goes, and begins where it was stopped on the same code.
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

from autolora.storage.files import hash_file, write_atomic

RESULTS = Path("metrics/soak.json")
WRITE_EVERY_S = 1.0
FAILURES = (Exception, pytest.fail.Exception)
ELSEWHERE = (".", f":!{RESULTS}")  # git's words for everything but the results themselves


@dataclass(slots=True)
class Result:
    """One test's line of metrics/soak.json."""

    commit: str
    date: str
    hardware: str
    full: int
    count: int = 0
    """seeds done, from 0 on"""
    failures: int = 0
    seeds: list[int] = field(default_factory=list)
    """those that failed"""
    seconds: float = 0.0


def run_seeds(call: Callable[[int], None], seeds: range) -> None:
    """Call with each seed; the first failure ends it, with a note that says its seed."""
    for seed in seeds:
        try:
            call(seed)
        except FAILURES as error:
            error.add_note(f"seed {seed}: run it alone with --seed {seed}")
            raise


def soak(call: Callable[[int], None], full: int, name: str, root: Path) -> None:
    """Call with every seed that this code has not been tried with yet, and keep count in metrics/soak.json.

    Fails at the end, with the seeds that failed.
    """
    result = resumed(root, name, full)
    first: BaseException | None = None
    with recording(root, name, result) as record:
        for seed in range(result.count, full):
            started = time.perf_counter()
            try:
                call(seed)
            except FAILURES as error:
                first = first or error
                result.seeds.append(seed)
                keep_traceback(root, name, seed, error)
            result.count, result.failures = seed + 1, len(result.seeds)
            result.seconds += time.perf_counter() - started
            record()
    if result.seeds:
        raise AssertionError(f"{result.failures} of {full} seeds failed: {result.seeds}") from first


def keep_traceback(root: Path, name: str, seed: int, error: BaseException) -> None:
    """Write down how a seed failed: cache/soak/TEST/SEED.txt."""
    text = "".join(traceback.format_exception(error))
    write_atomic(root / "cache/soak" / re.sub(r"\W+", "-", name) / f"{seed}.txt", text)


def resumed(root: Path, name: str, full: int) -> Result:
    """Return how far this test has come on the same code, or a result that has not begun."""
    fresh = Result(commit=commit(root), date=today(), hardware=hardware(), full=full)
    known = results(root).get(name, {})
    same = all(
        known.get(key) == value for key, value in asdict(fresh).items() if key in ("commit", "hardware")
    )
    return Result(**{**known, "date": fresh.date, "full": full}) if same else fresh


@contextmanager
def recording(root: Path, name: str, result: Result) -> Iterator[Callable[[], None]]:
    """Yield a function that writes a result down now and then; it is written at the end, whatever ends it."""
    written = time.monotonic()

    def write() -> None:
        row = asdict(result) | {"seconds": round(result.seconds, 3)}
        text = json.dumps(dict(sorted({**results(root), name: row}.items())), indent=2)
        write_atomic(root / RESULTS, text + "\n")

    def write_now_and_then() -> None:
        nonlocal written
        if time.monotonic() - written >= WRITE_EVERY_S:
            write()
            written = time.monotonic()

    try:
        yield write_now_and_then
    finally:
        write()


def results(root: Path) -> dict[str, dict[str, object]]:
    """Return what metrics/soak.json holds: test -> its line."""
    path = root / RESULTS
    found: dict[str, dict[str, object]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def commit(root: Path) -> str:
    """Return the last commit that changed more than the results, with a digest of what is not committed."""
    sha = git(root, "log", "-1", "--format=%H", "--", *ELSEWHERE).decode().strip()
    names = (
        git(root, "ls-files", "--others", "--exclude-standard", "-z", "--", *ELSEWHERE).decode().split("\0")
    )
    news = [f"{name} {hash_file(root / name)}" for name in names if (root / name).is_file()]
    changes = git(root, "diff", "--binary", "HEAD", "--", *ELSEWHERE) + "\n".join(news).encode()
    return f"{sha}+{hashlib.sha256(changes).hexdigest()[:12]}" if changes else sha


def git(root: Path, *words: str) -> bytes:
    """Return what a git command prints."""
    return subprocess.run(["git", *words], cwd=root, capture_output=True, check=True).stdout


def hardware() -> str:
    """Return the processor's name and how many cores this process may use."""
    info = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.exists() else None
    return f"{named[1] if named else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def today() -> str:
    """Return the date in UTC."""
    return datetime.now(UTC).date().isoformat()


def each_seed(item: pytest.Function) -> Callable[[int], None]:
    """Return a function that calls a test with a seed, in a folder of its own that goes when the test passes."""
    arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}

    def call(seed: int) -> None:
        folder = arguments["tmp_path"] / str(seed) if "tmp_path" in arguments else None
        if folder is None:
            item.obj(**arguments | {"seed": seed})
            return
        folder.mkdir()
        item.obj(**arguments | {"seed": seed, "tmp_path": folder})
        shutil.rmtree(folder)

    return call
