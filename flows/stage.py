"""One stage as one process: its tasks, its failure in words, and Prefect's own share of the time.

Flows are asynchronous because a synchronous one waits a second for its heartbeat at the end.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect.cache_policies import NO_CACHE

from autolora.errors import AutoLoraError
from autolora.params import Params, load
from flows import PREFECT_IMPORT_S

ROOT = Path.cwd()

P = ParamSpec("P")
R = TypeVar("R")
_intervals: list[tuple[float, float]] = []


def params() -> Params:
    """Load params.yaml of the repository the process was started in."""
    return load(ROOT / "params.yaml")


def task(
    *, retries: int = 0, retry_delay_seconds: list[float] | None = None
) -> Callable[[Callable[P, R]], Any]:
    """Make a Prefect task that is never cached (DVC decides what runs) and whose own time is counted."""

    def wrap(function: Callable[P, R]) -> Any:
        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                _intervals.append((started, time.perf_counter()))

        return prefect.task(
            timed, cache_policy=NO_CACHE, retries=retries, retry_delay_seconds=retry_delay_seconds or 0
        )

    return wrap


def run(flow: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run a stage's flow; print what failed and exit with 1 where it did; print Prefect's share."""
    started = time.perf_counter()
    try:
        asyncio.run(flow())
    except AutoLoraError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        elapsed = time.perf_counter() - started
        total, share = elapsed + PREFECT_IMPORT_S, elapsed + PREFECT_IMPORT_S - _busy()
        print(f"[{flow.__name__}] {total:.1f} s, of which Prefect {share:.1f} s", flush=True)


def _busy() -> float:
    """Return the seconds in which at least one task ran its own code."""
    busy, end = 0.0, 0.0
    for start, stop in sorted(_intervals):
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return busy
