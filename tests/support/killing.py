"""Running and killing stages in processes that are forked from a server with all imports, so that a kill is cheap."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

TIMEOUT_S = 600
POLL_INTERVAL_S = 0.02
PRELOADED = [
    "autolora.pool.ingest",
    "autolora.vlm",
    "lance_namespace",
    "playground.hubs.server",
    "playground.world",
    "pytest_httpserver",
    "tests.support.changing_repo",
]
"""modules whose import takes long; not lancedb, which starts a thread that a forked process does not have"""
_context = multiprocessing.get_context("forkserver")


def run(stage: Callable[..., None], *arguments: object) -> float:
    """Run a stage in its own process until it ends, and return its duration in seconds.

    stage: a function of a test module. arguments: values that can be pickled.
    """
    process = _start(stage, arguments)
    started = time.perf_counter()
    process.join(TIMEOUT_S)
    assert process.exitcode == 0, f"{stage.__name__} ended with exit code {process.exitcode}"
    return time.perf_counter() - started


def kill(
    stage: Callable[..., None],
    *arguments: object,
    after_s: float = TIMEOUT_S,
    until: Callable[[], bool] = lambda: False,
) -> bool:
    """Run a stage in its own process, send SIGKILL after `after_s` or once `until` holds; return if it still ran.

    False: the stage had already ended without an error.
    """
    process = _start(stage, arguments)
    deadline = time.monotonic() + after_s
    while process.is_alive() and time.monotonic() < deadline and not until():
        process.join(min(POLL_INTERVAL_S, max(0.0, deadline - time.monotonic())))
    process.kill()
    process.join()
    return process.exitcode != 0


def _start(stage: Callable[..., None], arguments: tuple[object, ...]) -> ForkServerProcess:
    """Start a process and return it when it is about to call the stage."""
    _context.set_forkserver_preload(PRELOADED)
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_call, args=(sender, stage, arguments), daemon=True)
    process.start()
    assert receiver.poll(TIMEOUT_S), f"{stage.__name__} did not start"
    return process


def _call(sender: Connection, stage: Callable[..., None], arguments: tuple[object, ...]) -> None:
    sender.send("started")
    stage(*arguments)
