"""How fast a hub is asked."""

import threading
import time

from autolora.hubs.http.rate_limit import Pace


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_the_first_goes_at_once_and_the_others_wait_their_turn() -> None:
    clock = Clock()
    pace = Pace(4.0, clock, clock.sleep)
    for _ in range(3):
        pace.take()
    assert clock.slept == [0.25, 0.25]


def test_what_was_not_used_is_not_made_up_for() -> None:
    clock = Clock()
    pace = Pace(1.0, clock, clock.sleep)
    pace.take()
    clock.now += 60
    pace.take()
    pace.take()
    assert clock.slept == [1.0]


def test_what_is_taken_is_paid_for_before_the_next() -> None:
    clock = Clock()
    pace = Pace(1000.0, clock, clock.sleep)
    pace.take(5000)
    pace.take(1000)
    pace.take(0)
    assert clock.slept == [5.0, 1.0]


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()
    pace = Pace(float("inf"), clock, clock.sleep)
    for _ in range(100):
        pace.take(1e12)
    assert clock.slept == []


def test_threads_share_one_pace() -> None:
    pace = Pace(200.0)
    started = time.monotonic()
    threads = [threading.Thread(target=lambda: [pace.take() for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 19 / 200
