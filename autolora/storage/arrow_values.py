"""Values of Arrow from texts, and flags from Arrow, without pandas.

`pa.array`, `pa.scalar`, functions that are given Python's values, and `to_numpy` import pandas if it is installed, to
find out whether values are pandas' own. That takes half as long as a search.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolora.storage.arrays import BoolArray


def text_array(texts: Iterable[str]) -> pa.Array:
    """Return texts as an array."""
    builder = pa.lib.StringBuilder()
    builder.append_values(texts)
    return builder.finish()


def constant(text: str, kind: pa.DataType) -> pa.Scalar:
    """Return the value of a type that a text states. Raises ArrowInvalid if it states none."""
    return text_array([text])[0].cast(kind)


def read_flags(flags: pa.Array | pa.ChunkedArray) -> BoolArray:
    """Return which of some flags are true (N,); an unknown one is not."""
    values = np.zeros(len(flags), np.bool_)
    values[np.from_dlpack(pc.indices_nonzero(flags))] = True
    return values
