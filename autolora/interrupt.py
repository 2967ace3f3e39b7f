"""Ctrl-C: a process ends with one line and exit status 130, as shells report it, instead of a traceback."""

import os
import signal
import sys
import threading

STATUS = 128 + signal.SIGINT
GRACE_S = 10.0
"""after this long, threads and servers that have not ended are abandoned; files are written atomically"""


def exit_on_interrupt(message: str) -> None:
    """Make SIGINT raise SystemExit(STATUS) in the main thread, after one line on stderr; a second one ends at once.

    SystemExit unwinds as an error does, so locks are released and temporary files removed, but neither asyncio nor
    Prefect replaces it or prints a traceback. Call it before slow imports: Ctrl-C may come during one.
    """

    def stop(signum: int, frame: object) -> None:
        signal.signal(signal.SIGINT, _abandon)
        sys.stderr.write(f"\n{message}\n")
        sys.stderr.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries print how their work was cut short
        watchdog = threading.Timer(GRACE_S, os._exit, [STATUS])
        watchdog.daemon = True
        watchdog.start()
        raise SystemExit(STATUS)

    signal.signal(signal.SIGINT, stop)


def _abandon(signum: int, frame: object) -> None:
    os._exit(STATUS)
