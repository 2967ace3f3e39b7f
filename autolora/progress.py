"""Progress of long work: how much is done, how fast, and how long the rest will take, as log lines.

    for image in track(images, "captions", total=1200, noun="images"):
        ...

Lines are plain and a few seconds apart, so they read the same on a terminal, in a file and in the log of a refresh,
and between the rows that a command prints meanwhile. Nothing is logged of work that is shorter. The command line and
the flows show the lines (`show_progress`).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import copy_context
from types import TracebackType
from typing import Self, TypeVar

INTERVAL_S = 5.0
"""before the first line, and between two"""
FINISHING = 12
"""times as long before a line once all items are finished, and twice as long before each further one"""
T = TypeVar("T")
logger = logging.getLogger(__name__)


class Progress:
    """A count of finished items, logged every few seconds while the block runs; thread-safe."""

    def __init__(
        self,
        label: str,
        total: int | None = None,
        noun: str = "",
        detail: Callable[[], str] = lambda: "",
        count: Callable[[], int] = lambda: 0,
    ) -> None:
        """Initialize; nothing is logged before the block.

        total: number of items; None if it is not known before. detail: what else to say. count: number of items that
        are finished beside those that `advance` counts. Both are called when a line is logged.
        """
        self.done = self._before = 0
        self._label, self.total, self._noun, self._detail, self._count = label, total, noun, detail, count
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._started = time.monotonic()
        self._thread = threading.Thread(target=copy_context().run, args=(self._report,), daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def advance(self, number: int = 1) -> None:
        """Count further finished items."""
        with self._lock:
            self.done += number

    def reach(self, number: int) -> None:
        """Set the count of a training that may continue an earlier one, whose steps came before the first call's."""
        with self._lock:
            if not self.done:
                self._before = number - 1
            self.done = number

    def _report(self) -> None:
        interval = INTERVAL_S
        while not self._stopped.wait(interval):
            done = self.done + self._count()
            line = describe(done, self.total, self._noun, time.monotonic() - self._started, self._before)
            logger.info("[%s] %s", self._label, ", ".join(filter(None, (line, self._detail()))))
            is_finishing = done == self.total
            interval = max(INTERVAL_S * FINISHING, 2 * interval) if is_finishing else INTERVAL_S


def track(items: Iterable[T], label: str, total: int | None = None, noun: str = "") -> Iterator[T]:
    """Yield items, and log how many were processed. total: as `Progress`."""
    with Progress(label, total, noun) as progress:
        for item in items:
            yield item
            progress.advance()


def describe(done: int, total: int | None, noun: str, seconds: float, before: int = 0) -> str:
    """Return the state of some work as a phrase, e.g. `120 of 1,200 images, 10.0/s, 1 min 48 s left`.

    before: number of items that were finished before these seconds.
    """
    count = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    text = f"{count} {noun}".rstrip()
    if not done:
        return f"{text}, {duration(seconds)} so far"
    if done == total:
        return f"{text}, finishing, {duration(seconds)} so far"
    rate = (done - before) / max(seconds, 1e-9)
    left = "" if total is None else f", {duration((total - done) / rate)} left"
    return f"{text}, {rate:.1f}/s{left}" if rate >= 0.1 else f"{text}, {1 / rate:.0f} s each{left}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units, e.g. `1 h 12 min`."""
    total = round(seconds)
    if total >= 3600:
        return f"{total // 3600} h {total % 3600 // 60} min"
    return f"{total // 60} min {total % 60} s" if total >= 60 else f"{total} s"


def show_progress() -> None:
    """Print the lines to stderr as it is now, and no longer to what it was in an earlier call."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
