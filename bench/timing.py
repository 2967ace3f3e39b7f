"""Time two callables against each other in one run."""

import statistics
import time
from collections.abc import Callable


def paired(ours: Callable[[], object], peer: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of `ours` and `peer`, run in turns, and the median of their ratios."""
    seconds: list[tuple[float, float]] = []
    for _ in range(rounds):
        seconds.append((_once(ours), _once(peer)))
    medians = (statistics.median(pair[side] for pair in seconds) for side in (0, 1))
    ratio = statistics.median(first / second for first, second in seconds)
    return *medians, ratio  # type: ignore[return-value]  # two floats


def _once(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
