"""Killing a stage at random moments, in processes that are forked from a warm one: a kill costs little."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

PATIENCE_S = 600
LOOK_EVERY_S = 0.02
WARM = ["autolora.pool.ingest", "autolora.vlm", "playground.hub", "playground.world", "pytest_httpserver"]
"""what takes long to import"""
_processes = multiprocessing.get_context("forkserver")


def run(stage: Callable[..., None], *arguments: object) -> float:
    """Run a stage in a process of its own to its end and return the seconds that it took.

    stage: a function of a test module; arguments: what pickle can carry.
    """
    process = _begin(stage, arguments)
    started = time.perf_counter()
    process.join(PATIENCE_S)
    assert process.exitcode == 0, f"{stage.__name__} ended with {process.exitcode}"
    return time.perf_counter() - started


def kill(
    stage: Callable[..., None],
    *arguments: object,
    after_s: float = PATIENCE_S,
    until: Callable[[], bool] = lambda: False,
) -> bool:
    """Run a stage in a process of its own and SIGKILL it when it has worked so long, or come so far; was it still at
    work?"""
    process = _begin(stage, arguments)
    ended = time.monotonic() + after_s
    while process.is_alive() and time.monotonic() < ended and not until():
        process.join(min(LOOK_EVERY_S, max(0.0, ended - time.monotonic())))
    process.kill()
    process.join()
    return process.exitcode != 0


def _begin(stage: Callable[..., None], arguments: tuple[object, ...]) -> ForkServerProcess:
    """Start a process and wait until it is about to call the stage."""
    _processes.set_forkserver_preload(WARM)
    receiver, sender = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_call, args=(sender, stage, arguments), daemon=True)
    process.start()
    assert receiver.poll(PATIENCE_S), f"{stage.__name__} does not begin"
    return process


def _call(sender: Connection, stage: Callable[..., None], arguments: tuple[object, ...]) -> None:
    sender.send("begun")
    stage(*arguments)
