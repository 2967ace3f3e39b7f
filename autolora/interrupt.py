"""Ctrl-C: a process ends with one line and exit status 130, as shells report it, instead of a traceback."""

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType

STATUS = 128 + signal.SIGINT
GRACE_S = 10.0
"""after this long, threads and servers that have not ended are abandoned; files are written atomically"""
CHILDREN_S = 2.0
"""for ending the children of a process that is abandoned: its import of psutil may wait for ever, if a thread that is
stuck holds the lock of imports"""
WAKE_S = 0.1
"""so often a main thread that does not notice Ctrl-C is woken"""

IMPORTING = "<frozen importlib._bootstrap>"
"""file name of the code that is on the stack during an import. Libraries call C++ code while they are imported; if
Python raises in it, torch aborts the process, or goes on"""

_interrupted, _raised = threading.Event(), threading.Event()
"""Ctrl-C has come; SystemExit has been raised"""


def exit_on_interrupt(message: str) -> None:
    """Make SIGINT raise SystemExit(STATUS) in the main thread, after one line on stderr; a second one ends at once.

    SystemExit unwinds as an error does, so locks are released and temporary files removed, but neither asyncio nor
    Prefect prints a traceback of it. Call it before slow imports: Ctrl-C may come during one.
    """

    def stop(signum: int, frame: FrameType | None) -> None:
        _interrupted.set()
        signal.signal(signal.SIGINT, _abandon)
        os.write(2, f"\n{message}\n".encode())  # sys.stderr raises if the signal comes while it writes
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries print how their work was cut short
        watchdog = threading.Timer(GRACE_S, _abandon)
        watchdog.daemon = True
        watchdog.start()
        _leave(signum, frame)

    signal.signal(signal.SIGINT, stop)
    _wake_on_interrupt()


def raise_if_interrupted() -> None:
    """Raise SystemExit(STATUS) if Ctrl-C came: a library may have replaced the first one by an error of its own."""
    if _interrupted.is_set():
        raise SystemExit(STATUS)


def _leave(signum: int, frame: FrameType | None) -> None:
    """Raise SystemExit(STATUS) after Ctrl-C, unless an import runs: the next SIGURG tries again."""
    if not _interrupted.is_set() or _raised.is_set():
        return
    while frame:
        if frame.f_code.co_filename == IMPORTING:
            return
        frame = frame.f_back
    _raised.set()
    raise SystemExit(STATUS)


def _wake_on_interrupt() -> None:
    """Start a thread that sends SIGURG to the main thread after SIGINT, until SystemExit has been raised there.

    It ends a process that the watchdog could not end.

    Python runs handlers in the main thread between two instructions. If SIGINT comes after the last check before a
    blocking call, such as the wait for a lock, that call does not notice it, and would block for as long as it takes.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)  # gets each signal's number, in any thread
    signal.signal(signal.SIGURG, _leave)  # a signal without a handler interrupts no call
    main = threading.get_ident()

    def wake() -> None:
        while signal.SIGINT not in os.read(reader, 1):
            pass
        end = time.monotonic() + GRACE_S + CHILDREN_S
        while time.monotonic() < end and not _raised.wait(WAKE_S):
            signal.pthread_kill(main, signal.SIGURG)
        time.sleep(max(0.0, end - time.monotonic()))
        os._exit(STATUS)

    threading.Thread(target=wake, name="wake on interrupt", daemon=True).start()


def _abandon(*_: object) -> None:
    try:
        import psutil  # only here: it delays the start of every command

        for child in psutil.Process().children(recursive=True):  # such as a server that Prefect started
            with suppress(psutil.Error):
                child.terminate()
    finally:
        os._exit(STATUS)  # even if the signal comes during the import of psutil
