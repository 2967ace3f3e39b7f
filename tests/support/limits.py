"""Running cases under limits that hold: a process of its own that ends where a case takes too long or too much.

The kernel holds them, not the code under test: SIGPROF after a case's processor time, also in the middle of a call
into C, and no more address space than the process begins with plus `memory`.
"""

import multiprocessing
import resource
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

SECONDS = 1.0
"""of processor time, a case"""
MEMORY = 1 << 30
"""bytes, all cases of a process together"""
PATIENCE_S = 600
"""of the clock, a case: it may also wait, and the machine may be busy"""
_processes = multiprocessing.get_context("forkserver")

Check = Callable[[int, int], None]
"""seed, number of the case -> nothing; raises where the case fails"""


def run_within(check: Check, seed: int, cases: int, seconds: float = SECONDS, memory: int = MEMORY) -> None:
    """Call a test module's function with the cases 0, 1, …; raise AssertionError that names the first bad one."""
    _processes.set_forkserver_preload([check.__module__])  # torch takes long to import
    receiver, sender = _processes.Pipe(duplex=False)
    process = _processes.Process(target=_run, args=(sender, check, seed, cases, seconds, memory), daemon=True)
    process.start()
    sender.close()
    case = -1
    try:
        while case < cases:
            assert receiver.poll(PATIENCE_S), f"seed {seed}, case {case} waits for something"
            news = receiver.recv()
            if isinstance(news, str):
                raise AssertionError(f"seed {seed}, case {case} failed:\n{news}")
            case = news
    except EOFError:
        process.join()
        raise AssertionError(
            f"seed {seed}, case {case} ended the process: {_tell(process.exitcode)}"
        ) from None
    finally:
        process.kill()
        process.join()


def _run(sender: Connection, check: Check, seed: int, cases: int, seconds: float, memory: int) -> None:
    """Send the number of each case before it runs, and `cases` at the end, or how a case failed."""
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


def _tell(code: int | None) -> str:
    if code == -signal.SIGPROF:
        return "it took too long"
    return f"exit code {code}"
