"""Pace: how fast a hub is asked and read from, over all threads of this process."""

import threading
import time
from collections.abc import Callable


class Pace:
    """At most `per_s` of something a second: requests, or bytes. What is taken is paid for before the next is."""

    def __init__(
        self,
        per_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_s = per_s
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._free = clock()

    def take(self, amount: float = 1.0) -> None:
        """Wait for one's turn, in which `amount` is taken; the next turn comes when that is paid for.

        Never in bursts: what was not used earlier is not made up for.
        """
        with self._lock:
            now = self._clock()
            turn = max(self._free, now)
            self._free = turn + amount / self.per_s
        if turn > now:
            self._sleep(turn - now)
