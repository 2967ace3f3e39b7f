"""One stage as one process: its tasks, its failure in words, and Prefect's own share of the time.

Flows are asynchronous because a synchronous one waits a second for its heartbeat at the end.
"""

import asyncio
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect.cache_policies import NO_CACHE

from autolora.errors import AutoLoraError, ParamsError
from autolora.params import Params, load
from flows import PREFECT_IMPORT_S

ROOT = Path.cwd()
UNREAD = 128 + signal.SIGPIPE
"""exit status of a program that writes what nobody reads, as a shell reports it"""

P = ParamSpec("P")
R = TypeVar("R")
_intervals: list[tuple[float, float]] = []


def params() -> Params:
    """Load params.yaml of the repository the process was started in."""
    return load(ROOT / "params.yaml")


def today() -> date:
    """Return the day (UTC) that SOURCE_DATE_EPOCH names, or the clock's."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        now = time.time() if epoch is None else int(epoch)
    except ValueError as error:
        raise ParamsError(f"SOURCE_DATE_EPOCH is {epoch!r} but must be seconds since 1970") from error
    return datetime.fromtimestamp(now, UTC).date()


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
    """Run a stage's flow; print what failed and exit with 1 where it did; print Prefect's share.

    Where nobody reads on (`| head`), ends without a word and as SIGPIPE would end it.
    """
    try:
        _run(flow)
    except BrokenPipeError:
        _leave_if_unread()
        raise


def _run(flow: Callable[[], Coroutine[Any, Any, Any]]) -> None:
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


def _leave_if_unread() -> None:
    """Exit where it is standard output that nobody reads; not by the signal, as Prefect stops its server at exit."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLERR)
    if poll.poll(0):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)


def _busy() -> float:
    """Return the seconds in which at least one task ran its own code."""
    busy, end = 0.0, 0.0
    for start, stop in sorted(_intervals):
        busy += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return busy
