"""Measure the time that a call takes, by the clock or by the processor."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import TypeVar

Result = TypeVar("Result")


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Return the wall-clock seconds that a call takes, and its result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def cpu_timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Return the CPU seconds that a call takes, which other work on the machine affects little, and its result."""
    started = time.process_time()
    result = function()
    return time.process_time() - started, result


def today() -> date:
    """Return today's date (UTC)."""
    return datetime.now(UTC).date()
