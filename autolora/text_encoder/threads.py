"""The threads of NumPy's BLAS: one for a search.

The matrices of a prompt are small, and OpenBLAS's threads wait for each other busily: beside other work, or other
searches of the page, they take several times the CPU seconds of one thread.
"""

import ctypes
import threading
from collections.abc import Callable
from contextlib import ContextDecorator
from functools import cache

import numpy as np

NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
"""of OpenBLAS's functions, in NumPy's wheels and in distributions"""


class OneThread(ContextDecorator):
    """Lets NumPy multiply matrices in one thread until the block ends, in all threads of the process.

    Blocks may overlap: the number that was set before returns with the end of the last one. With another library than
    OpenBLAS nothing changes.
    """

    def __init__(self) -> None:
        self._lock, self._open, self._former = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._open:
                self._former = _openblas("get")()
                _openblas("set")(1)
            self._open += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._open -= 1
            if not self._open:
                _openblas("set")(self._former)


one_thread = OneThread()


@cache
def _openblas(verb: str) -> Callable[..., int]:
    """Return OpenBLAS's function that gets or sets the number of threads; one without effect if there is none."""
    library = ctypes.CDLL(np.linalg._umath_linalg.__file__)  # linked to the BLAS, in which it finds the names
    functions = (getattr(library, name.format(verb), None) for name in NAMES)
    return next(filter(None, functions), lambda *number: 0)
