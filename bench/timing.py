"""Measure the time that a call takes, by the clock or by the processor; name the processor."""

import platform
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
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


def name_processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
