"""What all flows share: params, tasks, log lines, and the run of one flow as one process.

Flows are asynchronous because Prefect delays the end of a synchronous flow by up to a second, for its heartbeat.
"""

import argparse
import asyncio
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import TaskRunContext
from prefect.flow_engine import run_flow_async
from prefect.states import Failed, Pending

from autolora.errors import AutoLoraError, ParamsError
from autolora.interrupt import raise_if_interrupted
from autolora.params import Params, load
from autolora.progress import show_progress
from autolora.stages import STAGES
from autolora.storage.files import write_atomic
from flows import PREFECT_IMPORT_S, code_digests

ROOT = Path.cwd()
UNREAD = 128 + signal.SIGPIPE
"""exit status of a program whose output nobody reads, as a shell reports it"""
PARENT_VARIABLE, TAG_VARIABLE = "AUTOLORA_PARENT_TASK_RUN", "AUTOLORA_REFRESH_TAG"
"""environment variables of a flow that a refresh started: task run and tag to link it to"""
FAILURE_VARIABLE = "AUTOLORA_FAILURE_VARIABLE"
"""environment variable with the path of the file for the reason of a failure"""
SECONDS_PER_HOUR = 3600
REPEAT_S = 60
"""the time limit is raised again after this, because asyncio swallows an exception that occurs inside a callback"""

P = ParamSpec("P")
R = TypeVar("R")
Task = prefect.Task
logger = logging.getLogger("flows")
_intervals: list[tuple[float, float]] = []


class StageFailed(AutoLoraError):
    """A stage failed under DVC: its name and reason, and the last lines of DVC's output."""

    def __init__(self, reason: str, output: str) -> None:
        super().__init__(reason)
        self.output = output


def params() -> Params:
    """Load params.yaml of the repository the process was started in."""
    return load(ROOT / "params.yaml")


def now() -> datetime:
    """Return the time (UTC) that SOURCE_DATE_EPOCH names, or the clock's."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        seconds = time.time() if epoch is None else int(epoch)
    except ValueError as error:
        raise ParamsError(f"SOURCE_DATE_EPOCH is {epoch!r} but must be seconds since 1970") from error
    return datetime.fromtimestamp(seconds, UTC)


def today() -> date:
    """Return the day of `now`."""
    return now().date()


def measured_on() -> date:
    """Return the clock's day (UTC), the date of a measurement; unlike `today`, no variable replaces it."""
    return datetime.now(UTC).date()


def print_and_log(text: str) -> None:
    """Print a line and write it to the log of the Prefect run."""
    print(text, flush=True)
    logger.info(text)


def task(
    *, retries: int = 0, retry_delay_seconds: list[float] | None = None
) -> Callable[[Callable[P, R]], prefect.Task[P, R]]:
    """Return a decorator for a Prefect task that is never cached (DVC decides what runs) and whose time is counted."""

    def wrap(function: Callable[P, R]) -> prefect.Task[P, R]:
        @wraps(function)
        def timed(*args: P.args, **kwargs: P.kwargs) -> R:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                _intervals.append((started, time.perf_counter()))

        decorate = prefect.task(
            cache_policy=NO_CACHE, retries=retries, retry_delay_seconds=retry_delay_seconds or 0
        )
        return decorate(timed)

    return wrap


def flow(
    name: str, **options: Any
) -> Callable[[Callable[[], Coroutine[Any, Any, None]]], prefect.Flow[[], Any]]:
    """Return a decorator for a Prefect flow; if it raises an AutoLoraError, its state begins with that reason."""

    def wrap(function: Callable[[], Coroutine[Any, Any, None]]) -> prefect.Flow[[], Any]:
        @wraps(function)
        async def with_reason() -> prefect.State | None:
            try:
                await function()
            except AutoLoraError as error:
                return Failed(message=reason_of(error), data=error)
            return None

        decorated: prefect.Flow[[], Any] = prefect.flow(name=name, **options)(with_reason)
        return decorated

    return wrap


def run(flow: Callable[[], Coroutine[Any, Any, Any]], guard: bool = True, parse: bool = True) -> None:
    """Run a flow as this process, linked to the refresh that started it, if one did.

    guard: run it inside `guarded`. parse: accept no command-line argument but --help. Prints Prefect's share of the
    time. If the flow fails, prints the reason and exits with 1; if nobody reads the output (`| head`), exits silently
    with UNREAD.
    """
    if parse:
        argparse.ArgumentParser(
            prog=f"python -m flows.{flow.__name__}", description=flow.__doc__
        ).parse_args()
    show_progress()
    try:
        _run(flow, guard)
    except BrokenPipeError:
        _leave_if_unread()
        raise
    finally:
        raise_if_interrupted()


def link_to_refresh(tag: str) -> dict[str, str]:
    """Return the environment that links the flows of a child process to the task that runs now."""
    context = TaskRunContext.get()
    assert context is not None, "called outside a task"
    return {PARENT_VARIABLE: str(context.task_run.id), TAG_VARIABLE: tag}


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Run a flow within refresh.timeout_h, if its code digest is up to date; crawl and refresh check all digests.

    Raises MismatchError at once, AutoLoraError in the main thread when the time is over. Prefect's own timeout cannot
    interrupt an asynchronous flow whose tasks are synchronous.
    """
    code_digests.check(ROOT, *([name] if name in STAGES else STAGES))
    hours = params().refresh.timeout_h

    def stop(signum: int, frame: object) -> None:
        raise AutoLoraError(
            f"{name} did not finish within {hours:g} h (refresh.timeout_h in params.yaml): its log shows the last "
            "step; run it again, which continues from what is finished, or raise the limit"
        )

    previous = signal.getsignal(signal.SIGALRM)
    try:
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, hours * SECONDS_PER_HOUR, REPEAT_S)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _run(flow: Callable[[], Coroutine[Any, Any, Any]], guard: bool) -> None:
    started = time.perf_counter()
    name = flow.__name__
    try:
        with guarded(name) if guard else nullcontext():
            asyncio.run(_run_linked(flow, os.environ) if isinstance(flow, prefect.Flow) else flow())
    except AutoLoraError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        _write_reason(name, error)
        sys.exit(1)
    except Exception as error:
        _write_reason(name, error)
        raise
    finally:
        elapsed = time.perf_counter() - started
        total, share = elapsed + PREFECT_IMPORT_S, elapsed + PREFECT_IMPORT_S - _busy()
        print(f"[{name}] {total:.1f} s, of which Prefect {share:.1f} s", flush=True)


def _write_reason(name: str, error: Exception) -> None:
    """Write why a flow failed to the file that the refresh which started it reads."""
    if path := os.environ.get(FAILURE_VARIABLE):
        write_atomic(Path(path), json.dumps({"flow": name, "reason": f"{type(error).__name__}: {error}"}))


async def _run_linked(flow: prefect.Flow[[], Any], environment: Mapping[str, str]) -> None:
    """Run a flow, named by flow and day; if a refresh started it, as a subflow of that refresh and with its tag."""
    parent, tag = environment.get(PARENT_VARIABLE), environment.get(TAG_VARIABLE)
    async with get_client() as client:
        flow_run = await client.create_flow_run(
            flow,
            name=f"{flow.name} {today()}",
            tags=[tag or f"{flow.name}-{today()}"],
            parent_task_run_id=UUID(parent) if parent else None,
            state=Pending(),
        )
    state: Any = await run_flow_async(flow, flow_run=flow_run, parameters={}, return_type="state")
    await state.aresult()


def reason_of(error: Exception) -> str:
    """Return the message of an error with its type; of a failed stage, its name and reason."""
    return str(error) if isinstance(error, StageFailed) else f"{type(error).__name__}: {error}"


def _leave_if_unread() -> None:
    """Exit if nobody reads standard output; not by the signal, because Prefect stops its server at exit."""
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
