"""A rate limiter for requests and bytes, shared by all threads of a process."""

import threading
import time
from collections.abc import Callable


class RateLimiter:
    """Limits an amount, such as requests or bytes, to `per_s` per second, without bursts.

    The caller of `acquire` does not wait for its own amount: the next caller waits until that amount is
    covered.
    """

    def __init__(
        self,
        per_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_s = per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._next_start = clock()

    def acquire(self, amount: float = 1.0) -> None:
        """Wait until all earlier amounts are covered, then take `amount`. Idle time gives no credit."""
        with self._lock:
            now = self._clock()
            start = max(self._next_start, now)
            self._next_start = start + amount / self.per_s
        if start > now:
            self._sleep(start - now)
