"""Progress of a command with several steps: bars on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_PER_LINE = 5.0
"""between two lines about the same step"""
MIN_DONE = 10
"""items from which the remaining time is estimated: the first ones include the start of processes"""


@contextmanager
def shown_steps() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that shows a step's name, number of finished items and number of all, on standard error."""
    if sys.stderr.isatty():
        with _bars() as show:
            yield show
    else:
        yield StepLines()


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    tasks: dict[str, TaskID] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total or None, rate="")
            speed = progress.tasks[tasks[step]].speed
            rate = f"{speed:.1f}/s" if speed else ""
            progress.update(tasks[step], total=total or None, completed=done, rate=rate)

        yield show


class StepLines:
    """Prints a line when a step begins and ends, and every SECONDS_PER_LINE in between."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._step = ""
        self._started = self._printed = 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        """Print the state of a step if it is time for it."""
        now = self._now()
        if step != self._step:
            self._step, self._started, self._printed = step, now, now
            if done < total or not total:
                print(f"{step}: {total}" if total else step, file=sys.stderr, flush=True)
                return
        elif done < total and now - self._printed < SECONDS_PER_LINE:
            return
        self._printed = now
        print(describe_step(step, done, total, now - self._started), file=sys.stderr, flush=True)


def describe_step(step: str, done: int, total: int, seconds: float) -> str:
    """Return the state of a step as a line: items, rate, and the remaining or the elapsed time."""
    rate = done / max(seconds, 1e-3)
    if done == total:
        return f"{step}: {done} of {total}" + (f", {rate:.1f}/s, {seconds:.1f} s" if seconds >= 0.1 else "")
    time_left = f", {rate:.1f}/s, {(total - done) / rate:.0f} s left" if done >= MIN_DONE else ""
    return f"{step}: {done} of {total}{time_left}"
