"""Parquet shards: a column of images, as bytes or as Hugging Face's {bytes, path}, and a column of captions."""

from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from autolora.concepts.items import CAPTION_FIELDS, DAMAGED, CorpusItem, Skipped, clean_caption
from autolora.errors import ParamsError, RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import NOT_AN_IMAGE, check_bytes

READ_BUFFER = 1 << 20
"""bytes that are read of a column at a time"""


def list_rows(path: Path, name: str, skipped: Skipped) -> Iterator[CorpusItem]:
    """Yield the rows of a parquet file. name: of the file in sources. A damaged file is counted.

    Raises ParamsError if it has no column of images or of captions.
    """
    try:
        with parquet.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow, path)
            sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    except (pa.ArrowException, OSError):
        skipped[DAMAGED] += 1
        return
    row = 0
    for group, size in enumerate(sizes):
        for index in range(size):
            yield CorpusItem(f"{name}/{row}", partial(_read, path, columns, group, index))
            row += 1


def _columns(schema: pa.Schema, path: Path) -> tuple[str, str]:
    """Return the names of the columns of images and captions."""
    image = next((field.name for field in schema if _holds_bytes(field.type)), None)
    caption = next((name for name in CAPTION_FIELDS if name in schema.names), None)
    if image is None or caption is None:
        raise ParamsError(
            f"{path}, which concepts.corpus names, has the columns {', '.join(schema.names)}, but needs one of bytes "
            f"of images, and one of captions named {', '.join(CAPTION_FIELDS[:-1])} or {CAPTION_FIELDS[-1]}"
        )
    return image, caption


def _holds_bytes(kind: pa.DataType) -> bool:
    """Return whether values of this type hold the content of an image file."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read(
    path: Path, columns: tuple[str, str], group: int, index: int, bounds: PoolParams
) -> tuple[bytes, str]:
    try:
        cell, text = _open_group(path, columns, group).read(index)
    except (pa.ArrowException, OSError, StopIteration) as error:
        _open_group.cache_clear()
        raise RefusedFile(DAMAGED, f"row group {group} of {path} cannot be read: {error}") from error
    content = cell["bytes"] if pa.types.is_struct(cell.type) and cell.is_valid else cell
    if not content.is_valid:
        raise RefusedFile(NOT_AN_IMAGE, "the row has no image")
    words = clean_caption(text.as_py())
    buffer = content.as_buffer()
    check_bytes(buffer.size, bounds)
    return buffer.to_pybytes(), words


class RowGroup:
    """Two columns of a row group, read forward one row at a time.

    A row group is small on disk if its rows are equal, and then of any size in memory.
    """

    def __init__(self, path: Path, columns: tuple[str, str], group: int) -> None:
        self._file = parquet.ParquetFile(path, buffer_size=READ_BUFFER)
        self._columns, self._group = columns, group
        self._rows, self._next = self._start(), 0

    def _start(self) -> Iterator[pa.RecordBatch]:
        batches: Iterator[pa.RecordBatch] = self._file.iter_batches(
            batch_size=1, row_groups=[self._group], columns=list(self._columns)
        )
        return batches

    def read(self, index: int) -> tuple[pa.Scalar, pa.Scalar]:
        """Return the two cells of a row; quick if rows are read in ascending order.

        Raises StopIteration if there are fewer rows, ArrowException if they are damaged.
        """
        if index < self._next:
            self._rows, self._next = self._start(), 0
        row = next(islice(self._rows, index - self._next, None))
        self._next = index + 1
        image, caption = self._columns
        return row.column(image)[0], row.column(caption)[0]


@lru_cache(maxsize=1)
def _open_group(path: Path, columns: tuple[str, str], group: int) -> RowGroup:
    """Return a row group; items are read in the order of rows, so one stays open."""
    return RowGroup(path, columns, group)
