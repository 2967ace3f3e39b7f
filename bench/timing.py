"""Time two callables against each other in one run, or one at a time."""

import statistics
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def paired(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of `ours` and `peer`, run in turns, and the median of their ratios."""
    seconds: list[tuple[float, float]] = []
    for _ in range(rounds):
        seconds.append((timed(ours)[0], timed(peer)[0]))
    medians = (statistics.median(pair[side] for pair in seconds) for side in (0, 1))
    ratio = statistics.median(first / second for first, second in seconds)
    return *medians, ratio  # type: ignore[return-value]  # two floats


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
    """Return the seconds that a call takes, and its result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def spend(function: Callable[[], Result]) -> tuple[float, Result]:
    """Return the processor's seconds that a call takes, whatever else the machine is doing, and its result."""
    started = time.process_time()
    result = function()
    return time.process_time() - started, result
