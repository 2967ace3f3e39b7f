"""One BLAS thread for a search: within blocks only, however many overlap."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from autolora.text_encoder.threads import _openblas, one_thread


@pytest.fixture
def threads() -> Iterator[int]:
    """Let NumPy use two threads, whatever this machine has."""
    former = _openblas("get")()
    _openblas("set")(2)
    yield 2
    _openblas("set")(former)


def test_numpy_has_one_thread_in_a_block_and_its_own_number_behind_it(threads: int) -> None:
    assert _openblas("get")() == threads  # this NumPy has OpenBLAS
    with pytest.raises(ZeroDivisionError), one_thread:
        assert _openblas("get")() == 1
        raise ZeroDivisionError
    assert _openblas("get")() == threads


def test_the_number_returns_with_the_end_of_the_last_block(threads: int) -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(one_thread)
    second.enter_context(one_thread)
    first.close()
    assert _openblas("get")() == 1
    second.close()
    assert _openblas("get")() == threads
