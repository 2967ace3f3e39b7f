"""Parquet shards: a column of images, as bytes or as Hugging Face's {bytes, path}, and a column of captions."""

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from autolora.concepts.items import (
    CAPTION_FIELDS,
    DAMAGED,
    NO_CAPTION,
    CorpusItem,
    Skipped,
    check_caption_bytes,
    clean_caption,
)
from autolora.errors import ParamsError, RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import NOT_AN_IMAGE, check_bytes
from autolora.storage.files import MB

READ_BUFFER = 1 << 20
"""bytes that are read of a column at a time"""
MAX_COMPRESSION = 100
"""bytes of a column of a row group per byte on disk; those of image files are close to 1. Less than 100 MB are read in
any case"""

Columns = tuple[str, str]
"""names of the columns of images and captions"""


def has_images(path: Path) -> bool:
    """Return whether a parquet file has a column of images; True if its columns cannot be read."""
    try:
        return any(_holds_images(field.type) for field in parquet.read_schema(path))
    except (pa.ArrowException, OSError, ValueError):
        return True


def list_rows(path: Path, name: str, skipped: Skipped) -> Iterator[CorpusItem]:
    """Yield the rows of a parquet file. name: of the file in sources. Damaged files and row groups are counted.

    Raises ParamsError if it has no column of images or of captions.
    """
    try:
        with parquet.ParquetFile(path) as file:
            columns = _columns(file.schema_arrow, path)
            groups = [file.metadata.row_group(index) for index in range(file.num_row_groups)]
            _check_rows(groups, path.stat().st_size)
            is_bomb = [_is_compressed_too_much(group, columns) for group in groups]
    except (pa.ArrowException, OSError, ValueError) as error:
        skipped.add(DAMAGED, name, _reason(error, path, name))
        return
    row = 0
    for number, group in enumerate(groups):
        if is_bomb[number]:
            skipped.add(DAMAGED, f"{name}, row group {number}", "images cannot be compressed so much")
        else:
            for index in range(group.num_rows):
                read = partial(_read, path, name, columns, number, index)
                yield CorpusItem(f"{name}/{row + index}", read)
        row += group.num_rows


def _columns(schema: pa.Schema, path: Path) -> Columns:
    """Return the names of the columns of images and captions."""
    kinds = {field.name: field.type for field in schema}
    image = next((name for name, kind in kinds.items() if _holds_images(kind)), None)
    caption = next((name for name in CAPTION_FIELDS if name in kinds and _holds_texts(kinds[name])), None)
    if image is None or caption is None:
        raise ParamsError(
            f"{path}, which concepts.corpus names, has the columns {', '.join(schema.names)}, but needs one of bytes "
            f"of images, and one of texts named {', '.join(CAPTION_FIELDS[:-1])} or {CAPTION_FIELDS[-1]}"
        )
    if len(kinds) < len(schema.names):
        repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
        raise ParamsError(
            f"{path}, which concepts.corpus names, has several columns named {', '.join(repeated)}: expected one of "
            "each name"
        )
    return image, caption


def _holds_images(kind: pa.DataType) -> bool:
    """Return whether values of this type are the content of an image file, or have it in a field `bytes`."""
    if pa.types.is_struct(kind):
        return [field.name for field in kind if field.name == "bytes" and _is_bytes(field.type)] == ["bytes"]
    return _is_bytes(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_texts(kind: pa.DataType) -> bool:
    """Return whether values of this type are texts, or lists of texts."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_texts(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_rows(groups: Sequence[parquet.RowGroupMetaData], size: int) -> None:
    """Raise ValueError if a file of `size` bytes states more rows than bytes: listing them might never end."""
    rows = sum(group.num_rows for group in groups)
    if rows > size or any(group.num_rows < 0 for group in groups):
        raise ValueError(f"it states {rows} rows, but has {size} bytes")


def _is_compressed_too_much(group: parquet.RowGroupMetaData, columns: Columns) -> bool:
    """Return whether reading a row could fill the memory, as a page is decompressed as a whole."""
    chunks = (group.column(index) for index in range(group.num_columns))
    return any(
        chunk.total_uncompressed_size > MAX_COMPRESSION * max(chunk.total_compressed_size, MB)
        for chunk in chunks
        if chunk.path_in_schema.startswith(columns)
    )


def _read(
    path: Path, name: str, columns: Columns, group: int, index: int, bounds: PoolParams
) -> tuple[bytes, str]:
    try:
        cell, text = _open_group(path, columns, group).read(index)
        words = _read_caption(text)
    except (pa.ArrowException, OSError, StopIteration) as error:
        _open_group.cache_clear()
        reason = f"row group {group} cannot be read: {_reason(error, path, name)}"
        raise RefusedFile(DAMAGED, reason) from error
    content = cell["bytes"] if pa.types.is_struct(cell.type) and cell.is_valid else cell
    if not content.is_valid:
        raise RefusedFile(NOT_AN_IMAGE, "the row has no image")
    buffer = content.as_buffer()
    check_bytes(buffer.size, bounds)
    return buffer.to_pybytes(), words


def _reason(error: Exception, path: Path, name: str) -> str:
    """Return what an error says, with the file's name in the corpus in place of its path."""
    return str(error).replace(str(path), name)


def _read_caption(cell: pa.Scalar) -> str:
    """Return the caption in a cell. Raises RefusedFile with code no-caption if it is no text, or a long one."""
    if pa.types.is_dictionary(cell.type):
        cell = cell.value
    if cell.is_valid:
        check_caption_bytes(
            cell.as_buffer().size if isinstance(cell, pa.StringScalar) else cell.values.nbytes
        )
    try:
        return clean_caption(cell.as_py())
    except UnicodeDecodeError as error:
        raise RefusedFile(NO_CAPTION, f"the caption is not UTF-8: {error}") from error


class RowGroup:
    """Two columns of a row group, read forward one row at a time.

    A row group is small on disk if its rows are equal, and then of any size in memory.
    """

    def __init__(self, path: Path, columns: Columns, group: int) -> None:
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
def _open_group(path: Path, columns: Columns, group: int) -> RowGroup:
    """Return a row group; items are read in the order of rows, so one stays open."""
    return RowGroup(path, columns, group)
