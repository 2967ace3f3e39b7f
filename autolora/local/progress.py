"""How the steps of `autolora index` report what they have done."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""called with the name of a step, the number of items done and the number of all; total 0: the step has begun, and its
size is unknown"""


def tracked(step: str, items: Sequence[T], progress: Progress) -> Iterator[T]:
    """Yield the items of a step, and report each one after it has been used."""
    yield from counted(step, items, len(items), progress)


def counted(step: str, items: Iterable[T], total: int, progress: Progress) -> Iterator[T]:
    """Yield the items of a step with a known total, and report each one after it has been used."""
    if total:
        progress(step, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        progress(step, done, total)
