"""Ctrl-C: a process ends with one line and exit status 130, as shells report it, instead of a traceback."""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress

STATUS = 128 + signal.SIGINT
GRACE_S = 10.0
"""after this long, threads and servers that have not ended are abandoned; files are written atomically"""


def exit_on_interrupt(message: str) -> None:
    """Make SIGINT raise SystemExit(STATUS) in the main thread, after one line on stderr; a second one ends at once.

    SystemExit unwinds as an error does, so locks are released and temporary files removed, but neither asyncio nor
    Prefect prints a traceback of it. A library may replace it by an error of its own; the status is STATUS even then.
    Call it before slow imports: Ctrl-C may come during one.
    """
    interrupted = threading.Event()

    def exit_with_status() -> None:
        if interrupted.is_set():
            with suppress(OSError):  # nobody may read the output any more
                sys.stdout.flush()
            os._exit(STATUS)

    atexit.register(
        exit_with_status
    )  # before slow imports, so it runs after the handlers that those register

    def stop(signum: int, frame: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, _abandon)
        sys.stderr.write(f"\n{message}\n")
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries print how their work was cut short
        watchdog = threading.Timer(GRACE_S, _abandon)
        watchdog.daemon = True
        watchdog.start()
        raise SystemExit(STATUS)

    signal.signal(signal.SIGINT, stop)


def _abandon(*_: object) -> None:
    import psutil  # only here: it delays the start of every command

    for child in psutil.Process().children(recursive=True):  # such as a server that Prefect started
        with suppress(psutil.Error):
            child.terminate()
    os._exit(STATUS)
