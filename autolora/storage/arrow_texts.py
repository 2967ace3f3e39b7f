"""Texts as values of Arrow, without pandas.

`pa.array`, `pa.scalar` and functions that are given Python's values import pandas if it is installed, to find out
whether the values are pandas' own. That takes half as long as a search.
"""

from collections.abc import Iterable

import pyarrow as pa


def text_array(texts: Iterable[str]) -> pa.Array:
    """Return texts as an array."""
    builder = pa.lib.StringBuilder()
    builder.append_values(texts)
    return builder.finish()


def constant(text: str, kind: pa.DataType) -> pa.Scalar:
    """Return the value of a type that a text states. Raises ArrowInvalid if it states none."""
    return text_array([text])[0].cast(kind)
