"""The rate limiter of requests and bytes."""

import threading
import time

from autolora.hubs.http.endpoint import RateLimiter


class Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_first_request_starts_at_once_and_further_ones_wait() -> None:
    clock = Clock()
    limiter = RateLimiter(4.0, clock, clock.sleep)
    for _ in range(3):
        limiter.acquire()
    assert clock.slept == [0.25, 0.25]


def test_idle_time_allows_no_burst() -> None:
    clock = Clock()
    limiter = RateLimiter(1.0, clock, clock.sleep)
    limiter.acquire()
    clock.now += 60
    limiter.acquire()
    limiter.acquire()
    assert clock.slept == [1.0]


def test_next_caller_waits_for_the_previous_amount() -> None:
    clock = Clock()
    limiter = RateLimiter(1000.0, clock, clock.sleep)
    limiter.acquire(5000)
    limiter.acquire(1000)
    limiter.acquire(0)
    assert clock.slept == [5.0, 1.0]


def test_infinite_rate_never_waits() -> None:
    clock = Clock()
    limiter = RateLimiter(float("inf"), clock, clock.sleep)
    for _ in range(100):
        limiter.acquire(1e12)
    assert clock.slept == []


def test_threads_share_one_limit() -> None:
    limiter = RateLimiter(200.0)
    started = time.monotonic()
    threads = [threading.Thread(target=lambda: [limiter.acquire() for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 19 / 200
