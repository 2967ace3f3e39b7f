"""Waiting for a condition instead of for a time: a test fails if it hangs, not if the machine is slow."""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
import pytest

LIMIT_S = 120.0
"""far more than any condition takes on a slow and busy machine"""
POLL_S = 0.01


def wait_until(holds: Callable[[], object], limit_s: float = LIMIT_S) -> None:
    """Wait until a condition holds; raise AssertionError if it does not within the limit."""
    end = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < end, f"the condition does not hold after {limit_s:g} s"
        time.sleep(POLL_S)


def wait_for_line(caplog: pytest.LogCaptureFixture) -> None:
    """Wait until another thread logs what is done now: the first line after the call may be of before."""
    before = len(caplog.records)
    wait_until(lambda: len(caplog.records) >= before + 2)


def wait_for_a_later_time_stamp(path: Path) -> None:
    """Wait until a change gets another time stamp than the last one of a file had: Linux counts in steps of 4 ms."""

    def is_later() -> bool:
        with NamedTemporaryFile(dir=path.parent) as probe:
            return Path(probe.name).stat().st_ctime_ns > path.stat().st_ctime_ns

    wait_until(is_later)


def wait_for_server(port: int) -> None:
    """Wait until something on this machine listens at a port."""

    def listens() -> bool:
        connections = psutil.net_connections("tcp")
        return any(row.laddr.port == port and row.status == psutil.CONN_LISTEN for row in connections)

    wait_until(listens)
