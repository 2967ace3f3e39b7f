"""Parquet shards: a column of images, as bytes or as Hugging Face's {bytes, path}, and a column of captions."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from autolora.concepts.items import CAPTION_FIELDS, DAMAGED, CorpusItem, Skipped, clean_caption
from autolora.errors import ParamsError, RefusedFile
from autolora.params import PoolParams
from autolora.pool.images import NOT_AN_IMAGE, check_bytes
from autolora.storage.files import MB

MAX_ROW_GROUP_MB = 4000
"""10^6 bytes of a row group, which is read as a whole"""


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
    image, caption = columns
    try:
        table = _row_group(path, columns, group)
        cell, text = table.column(image)[index], table.column(caption)[index].as_py()
    except (pa.ArrowException, OSError, IndexError) as error:
        raise RefusedFile(DAMAGED, f"row group {group} of {path} cannot be read: {error}") from error
    content = cell["bytes"] if pa.types.is_struct(cell.type) and cell.is_valid else cell
    if not content.is_valid:
        raise RefusedFile(NOT_AN_IMAGE, "the row has no image")
    words = clean_caption(text)
    buffer = content.as_buffer()
    check_bytes(buffer.size, bounds)
    return buffer.to_pybytes(), words


@lru_cache(maxsize=1)
def _row_group(path: Path, columns: tuple[str, str], group: int) -> pa.Table:
    """Return the two columns of a row group; items are read in the order of rows, so one stays in memory."""
    with parquet.ParquetFile(path) as file:
        size = file.metadata.row_group(group).total_byte_size
        if size > MAX_ROW_GROUP_MB * MB:
            raise RefusedFile(DAMAGED, f"row group {group} of {path} has {size} bytes, too many to read")
        return file.read_row_group(group, columns=list(columns))
