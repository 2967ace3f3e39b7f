"""What all flows share: params, tasks, log lines, and the run of one flow as one process.

A flow has tasks where Prefect retries them, runs them side by side, or links the runs of stages to them.
"""

import argparse
import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from datetime import UTC, date, datetime
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.context import TaskRunContext
from prefect.flow_engine import FlowRunTimeoutError, run_flow_sync
from prefect.settings import temporary_settings
from prefect.states import Failed, Pending

from autolora.clock import today
from autolora.errors import AutoLoraError
from autolora.gpu_memory import naming_what_to_lower
from autolora.interrupt import raise_if_interrupted
from autolora.params import Params, load
from autolora.progress import show_progress
from autolora.stages import STAGES
from autolora.storage.files import read_json, write_atomic
from autolora.storage.incremental import digest_path
from flows import code_digests

ROOT = Path.cwd()
UNREAD = 128 + signal.SIGPIPE
"""exit status of a program whose output nobody reads, as a shell reports it"""
PARENT_VARIABLE, TAG_VARIABLE = "AUTOLORA_PARENT_TASK_RUN", "AUTOLORA_REFRESH_TAG"
"""environment variables of a flow that a refresh started: task run and tag to link it to"""
FAILURE_VARIABLE = "AUTOLORA_FAILURE_VARIABLE"
"""environment variable with the path of the file for the reason of a failure"""
SECONDS_PER_HOUR = 3600
SHORT_DIGEST = 12
facts: dict[str, object] = {}
"""what the last line of this process's flow says beside what all lines say"""

P = ParamSpec("P")
R = TypeVar("R")
Task = prefect.Task
logger = logging.getLogger("flows")


class StageFailed(AutoLoraError):
    """A stage failed under DVC: its name and reason, and the last lines of DVC's output."""

    def __init__(self, reason: str, output: str) -> None:
        super().__init__(reason)
        self.output = output


class PromotionRefused(AutoLoraError):
    """The gate has refused an index; the one before is served on. The state of such a run is `Refused`."""


def params() -> Params:
    """Load params.yaml of the repository the process was started in."""
    return load(ROOT / "params.yaml")


def measured_on() -> date:
    """Return the clock's day (UTC), the date of a measurement; unlike `today`, no variable replaces it."""
    return datetime.now(UTC).date()


def print_and_log(text: str) -> None:
    """Print a line and write it to the log of the Prefect run."""
    print(text, flush=True)
    logger.info(text)


def task(**options: Any) -> Callable[[Callable[P, R]], prefect.Task[P, R]]:
    """Return a decorator for a Prefect task that is never cached, because DVC decides what runs."""
    return prefect.task(cache_policy=NO_CACHE, **options)


def flow(name: str, **options: Any) -> Callable[[Callable[P, None]], prefect.Flow[P, Any]]:
    """Return a decorator for a Prefect flow; if it raises an AutoLoraError, its state begins with that reason.

    The flow ends with one line of facts.
    """

    def wrap(function: Callable[P, None]) -> prefect.Flow[P, Any]:
        @wraps(function)
        def with_reason(*args: P.args, **kwargs: P.kwargs) -> prefect.State | None:
            started, outcome = time.perf_counter(), "Failed"
            facts.clear()
            try:
                with naming_what_to_lower(name):
                    function(*args, **kwargs)
                outcome = "Done"
            except AutoLoraError as error:
                outcome = "Refused" if isinstance(error, PromotionRefused) else "Failed"
                return Failed(name=outcome, message=reason_of(error), data=error)
            finally:
                with suppress(AutoLoraError):  # hides no other reason
                    print_and_log(_line(name, time.perf_counter() - started, outcome))
            return None

        decorated: prefect.Flow[P, Any] = prefect.flow(name=name, **options)(with_reason)
        return decorated

    return wrap


def report(**values: object) -> None:
    """Add facts to the line with which the flow of this process ends."""
    facts.update(values)


def _line(name: str, seconds: float, outcome: str) -> str:
    """Return what became of a flow as key=value pairs, for programs that read logs; no value has a space."""
    digest = read_json(digest_path(ROOT, name)) or {}
    values = {"stage": name, "day": today(), "seconds": f"{seconds:.1f}", "digest": digest.get("sha256")}
    values |= facts | {"outcome": outcome.lower()}
    values["digest"] = str(values["digest"] or "none")[:SHORT_DIGEST]
    return " ".join(f"{key}={value}" for key, value in values.items())


def run(flow: Callable[..., Any], parse: bool = True, guard: bool = True, **parameters: object) -> None:
    """Run a flow, or a function, as this process; a flow is linked to the refresh that started it, if one did.

    parse: accept no command-line argument but --help. guard: check the code digest, and let Prefect end the flow after
    refresh.timeout_h. If it fails, prints the reason, or leaves that to the refresh that started it, and exits with 1;
    if nobody reads the output (`| head`), exits silently with UNREAD.
    """
    if parse:
        argparse.ArgumentParser(
            prog=f"python -m flows.{flow.__name__}", description=flow.__doc__
        ).parse_args()
    show_progress()
    try:
        _run(flow, guard, parameters)
    except BrokenPipeError:
        _leave_if_unread()
        raise
    finally:
        raise_if_interrupted()


def link_to_refresh() -> dict[str, str]:
    """Return the environment that links the flows of a child process to the task of a refresh that runs now."""
    context = TaskRunContext.get()
    assert context is not None, "called outside a task"
    return {PARENT_VARIABLE: str(context.task_run.id), TAG_VARIABLE: f"refresh-{today()}"}


def check_code(name: str) -> None:
    """Raise MismatchError if the code digest of a stage is out of date; of crawl and refresh, that of any stage."""
    code_digests.check(ROOT, *([name] if name in STAGES else STAGES))


def time_limit_s() -> float:
    """Return the seconds after which Prefect ends a refresh, or a stage that runs by itself."""
    return params().refresh.timeout_h * SECONDS_PER_HOUR


def too_late(name: str) -> AutoLoraError:
    """Return the error of a flow that Prefect has ended."""
    return AutoLoraError(
        f"{name} did not finish within {params().refresh.timeout_h:g} h (refresh.timeout_h in params.yaml): its log "
        "shows the last step; run it again, which continues from what is finished, or raise the limit"
    )


def reason_of(error: Exception) -> str:
    """Return the message of an error with its type; of a failed stage, its name and reason."""
    return str(error) if isinstance(error, StageFailed) else f"{type(error).__name__}: {error}"


def _run(flow: Callable[..., Any], guard: bool, parameters: Mapping[str, object]) -> None:
    started, name = time.perf_counter(), flow.__name__
    try:
        # the refresh that runs another flow has checked the code of all
        if guard and (name in STAGES or PARENT_VARIABLE not in os.environ):
            check_code(name)
        if isinstance(flow, prefect.Flow):
            _run_linked(flow.with_options(timeout_seconds=time_limit_s()) if guard else flow, parameters)
        else:
            flow()
    except AutoLoraError as error:
        if FAILURE_VARIABLE not in os.environ:  # else the refresh that started the flow prints the reason
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        _write_reason(name, error)
        sys.exit(1)
    except Exception as error:
        _write_reason(name, error)
        raise
    finally:
        if not isinstance(flow, prefect.Flow):  # which prints its own line
            print(f"[{name}] {time.perf_counter() - started:.1f} s", flush=True)


def _write_reason(name: str, error: Exception) -> None:
    """Write why a flow failed to the file that the refresh which started it reads."""
    if path := os.environ.get(FAILURE_VARIABLE):
        write_atomic(Path(path), json.dumps({"flow": name, "reason": f"{type(error).__name__}: {error}"}))


def _run_linked(flow: prefect.Flow[..., Any], parameters: Mapping[str, object]) -> None:
    """Run a flow, named by flow and day; if a refresh started it, as a subflow of that refresh and with its tag.

    Only a refresh sends heartbeats: Prefect waits for their thread for up to a second at the end of a flow.
    """
    parent = os.environ.get(PARENT_VARIABLE)
    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run(
            flow,
            parameters=dict(parameters),
            name=f"{flow.name} {today()}",
            tags=[os.environ.get(TAG_VARIABLE) or f"{flow.name}-{today()}"],
            parent_task_run_id=UUID(parent) if parent else None,
            state=Pending(),
        )
    try:
        with (
            nullcontext()
            if flow.name == "refresh"
            else temporary_settings({"flows.heartbeat_frequency": None})
        ):
            run_flow_sync(flow, flow_run=flow_run, parameters=dict(parameters))
    except FlowRunTimeoutError as error:
        raise too_late(flow.name) from error


def _leave_if_unread() -> None:
    """Exit if nobody reads standard output; not by the signal, because Prefect stops its server at exit."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLERR)
    if poll.poll(0):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(UNREAD)
