"""A process that ends at a chosen write of a file."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest


class Killed(BaseException):
    """The process ends here."""


def kill_at(patch: pytest.MonkeyPatch, point: int, names: Sequence[str]) -> list[str]:
    """Make a call of these functions of `os` end the process before or after it; return the calls so far."""
    calls: list[str] = []

    def counting(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            calls.append(name)
            if len(calls) != point // 2 + 1:
                return original(*args, **options)
            if point % 2:
                original(*args, **options)
            raise Killed

        return call

    for name in names:
        patch.setattr(os, name, counting(name))
    return calls
