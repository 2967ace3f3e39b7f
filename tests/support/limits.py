"""Running test cases in a process whose CPU time and memory the kernel limits.

The limits hold inside C code too: SIGPROF ends the process when a case has used its CPU time, and the address
space may grow by at most `memory` from its size at the start.
"""

import multiprocessing
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

SECONDS = 10.0
"""CPU time per case; the slowest takes half a second on one machine and more than one on another"""
MEMORY = 1 << 30
"""bytes, for all cases of a process together"""
CASE_TIMEOUT_S = 600
"""wall-clock time per case; long, since a case may wait and the machine may be busy"""
_context = multiprocessing.get_context("forkserver")

Check = Callable[[int, int], None]
"""takes a seed and the number of a case; raises if the case fails"""


def run_within_limits(
    check: Check, seed: int, cases: int, seconds: float = SECONDS, memory: int = MEMORY
) -> None:
    """Call a test module's function with the cases 0, 1, …; raise AssertionError for the first failing case."""
    _context.set_forkserver_preload([check.__module__])  # importing torch in each process would take long
    receiver, sender = _context.Pipe(duplex=False)
    process = _context.Process(target=_run, args=(sender, check, seed, cases, seconds, memory), daemon=True)
    process.start()
    sender.close()
    case = -1
    try:
        while case < cases:
            assert receiver.poll(CASE_TIMEOUT_S), f"seed {seed}, case {case}: no result in {CASE_TIMEOUT_S} s"
            message = receiver.recv()
            if isinstance(message, str):
                raise AssertionError(f"seed {seed}, case {case} failed:\n{message}")
            case = message
    except EOFError:
        process.join()
        raise AssertionError(
            f"seed {seed}, case {case} ended the process: {_exit_reason(process.exitcode)}"
        ) from None
    finally:
        process.kill()
        process.join()


def _run(sender: Connection, check: Check, seed: int, cases: int, seconds: float, memory: int) -> None:
    """Send each case's number before it runs; at the end send `cases`, or the traceback of a failing case."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    try:
        for case in range(cases):
            sender.send(case)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            check(seed, case)
            signal.setitimer(signal.ITIMER_PROF, 0)
        sender.send(cases)
    except BaseException:
        signal.setitimer(signal.ITIMER_PROF, 0)
        sender.send(traceback.format_exc())


def _exit_reason(code: int | None) -> str:
    if code == -signal.SIGPROF:
        return "it took too long"
    return f"exit code {code}"


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """Let no file of this process become larger than `size` bytes: writing fails then as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
