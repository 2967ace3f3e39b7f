"""LanceDB tables whose rows have a key and a row hash; the only module that imports lancedb and lance.

A table must have one writer at a time: concurrent upserts of the same new keys silently duplicate them. A table
that is up to date is not written at all, because even an empty upsert commits a new version.
"""

import datetime
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from autolora.errors import MismatchError, MissingArtifact
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import pending
from autolora.storage.sql import is_one_of

ROWS_PER_WRITE = 1000
"""also the rows of a fragment, up to which small ones are merged"""
MAX_SMALL = 10
"""fragments with fewer rows, above which they are merged: each run adds some, and merging rewrites them all"""
DELETED_SHARE = 0.1
"""of the rows of a fragment, from which it counts as small"""

Columns = Mapping[str, pa.DataType]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of rows that one run added, changed and removed in one table."""

    added: int
    changed: int
    removed: int

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def schema_of(columns: Columns) -> pa.Schema:
    """Return the Arrow schema: the first column is the key, the row hash is appended."""
    key = next(iter(columns))
    fields = [pa.field(name, kind, nullable=name != key) for name, kind in columns.items()]
    return pa.schema([*fields, pa.field("row_hash", pa.string(), nullable=False)])


def hash_row(row: Row, columns: Columns, inexact: Collection[str] = ()) -> str:
    """Return the sha256 of a row's columns except the `inexact` ones; dates are hashed as YYYY-MM-DD."""
    exact = {name: row[name] for name in columns if name not in inexact}
    dates = {name: value.isoformat() for name, value in exact.items() if isinstance(value, datetime.date)}
    return hash_value(exact | dates)


def sync_table(
    folder: Path, table: str, columns: Columns, wanted: Mapping[str, Row], inexact: Collection[str] = ()
) -> Counts:
    """Upsert and delete rows so that `table` holds exactly the `wanted` ones; write nothing if it already does.

    wanted: key -> row without key column and row hash. inexact: columns that the row hash leaves out.
    Raises MismatchError if the table then holds a key twice.
    """
    key = next(iter(columns))
    rows = {name: {key: name, **row} for name, row in wanted.items()}
    hashes = {name: hash_row(row, columns, inexact) for name, row in rows.items()}
    stored = hashes_in(folder, table, columns)
    work = pending(hashes.items(), stored.items())
    added = [name for name, _ in work.add]
    removed = [name for name, _ in work.remove if name not in wanted]
    if added or removed or not has_table(folder, table, columns):
        lance_table = open_table(folder, table, columns)
        upsert(lance_table, columns, [rows[name] | {"row_hash": hashes[name]} for name in added])
        remove(lance_table, columns, removed)
    finish_version(folder, table, hash_value(hashes))
    changed = sum(name in stored for name in added)
    counts = Counts(len(added) - changed, changed, len(removed))
    logger.info("%s: %d added, %d changed, %d removed", table, counts.added, counts.changed, counts.removed)
    return counts


def open_table(folder: Path, table: str, columns: Columns) -> Any:
    """Open a table for writing; create it if it is missing, incomplete, or has other columns."""
    schema = schema_of(columns)
    database = _database(folder)
    if version_of(folder, table) is None:
        return database.create_table(table, schema=schema)
    if not has_table(folder, table, columns):
        logger.info("%s: the columns have changed; rebuilding the table", table)
        return database.create_table(table, schema=schema, mode="overwrite")
    return database.open_table(table)


def upsert(table: Any, columns: Columns, rows: Sequence[Row]) -> None:
    """Insert rows or replace those of the same key, then check that keys are unique."""
    key = next(iter(columns))
    for start in range(0, len(rows), ROWS_PER_WRITE):
        part = pa.Table.from_pylist(list(rows[start : start + ROWS_PER_WRITE]), schema=schema_of(columns))
        table.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(part)
    if rows:
        _assert_unique(table, key)


def remove(table: Any, columns: Columns, keys: Sequence[str]) -> None:
    """Delete rows by key."""
    key = next(iter(columns))
    for start in range(0, len(keys), ROWS_PER_WRITE):
        table.delete(is_one_of(key, keys[start : start + ROWS_PER_WRITE]))


def version_of(folder: Path, table: str) -> int | None:
    """Return the newest version of a table; None if it is missing or incomplete."""
    try:
        return int(_dataset(folder, table).version)
    except (OSError, RuntimeError, ValueError):
        return None


def has_table(folder: Path, table: str, columns: Columns) -> bool:
    """Return whether the table exists and has these columns."""
    if version_of(folder, table) is None:
        return False
    return bool(_dataset(folder, table).schema == schema_of(columns))


def columns_of(folder: Path, table: str, version: int | None = None) -> tuple[str, ...]:
    """Return the names of a table's columns. Raises MissingArtifact if the table or that version does not exist."""
    try:
        return tuple(_dataset(folder, table, version).schema.names)
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingArtifact(f"{folder} has no table '{table}': run `dvc repro`") from error


def hashes_in(folder: Path, table: str, columns: Columns) -> dict[str, str]:
    """Return key -> row hash; empty if the table is missing or has other columns."""
    if not has_table(folder, table, columns):
        return {}
    key = next(iter(columns))
    stored = read_arrow(folder, table, [key, "row_hash"])
    return dict(zip(stored.column(key).to_pylist(), stored.column("row_hash").to_pylist(), strict=True))


def read_table(folder: Path, table: str, columns: Sequence[str], version: int | None = None) -> list[Row]:
    """Return rows, sorted by the first of `columns`.

    Raises MissingArtifact if the table or that version of it does not exist.
    """
    rows: list[Row] = read_arrow(folder, table, columns, version).to_pylist()
    return rows


def read_arrow(
    folder: Path, table: str, columns: Sequence[str], version: int | None = None, filter: str | None = None
) -> pa.Table:
    """Return the rows of `read_table`, or those that pass an SQL condition, as an Arrow table. Raises as it."""
    if version_of(folder, table) is None:
        raise MissingArtifact(f"{folder} does not contain the table '{table}': run `dvc repro`")
    try:
        rows = _dataset(folder, table, version).to_table(columns=list(columns), filter=filter)
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingArtifact(f"cannot read table '{table}' in {folder}: {error}; run `dvc repro`") from error
    return rows.sort_by(columns[0])


def read_where(
    folder: Path, table: str, columns: Sequence[str], name: str, values: Sequence[str]
) -> list[Row]:
    """Return the rows whose column `name` has one of these values, as `read_table`; without values, none.

    Raises as `read_table`. Only matching rows leave the disk.
    """
    rows: list[Row] = read_arrow(folder, table, columns, filter=is_one_of(name, values)).to_pylist()
    return rows


def read_texts(path: Path) -> bytes:
    """Return all texts in one data file of a table, deleted rows included, separated by line feeds.

    The file compresses them. Raises MissingArtifact if it cannot be read.
    """
    from lance.file import LanceFileReader  # here, as in _dataset

    texts: list[str] = []
    try:
        schema = LanceFileReader(str(path)).metadata().schema
        names = [field.name for field in schema if field.type in (pa.string(), pa.list_(pa.string()))]
        rows = LanceFileReader(str(path), columns=names).read_all().to_table() if names else pa.table({})
    except (OSError, RuntimeError, ValueError) as error:
        raise MissingArtifact(f"{path} is not a data file of a table ({error})") from error
    for column in rows.columns:
        flat = column if pa.types.is_string(column.type) else pc.list_flatten(column)
        texts += flat.drop_null().to_pylist()
    return "\n".join(texts).encode()


def to_matrix(column: pa.ChunkedArray) -> Float32Array:
    """Return a column of float32 vectors as a matrix (N, d), without a Python object per number."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: Float32Array = flat.reshape(len(column), column.type.list_size)
    return matrix


def finish_version(folder: Path, table: str, name: str) -> None:
    """Name the newest version of a table, and remove all others but the one that was named before.

    Small fragments are merged before, if they are many. The version that was named before stays, because a reader may
    be opening it. Nothing is written if the newest version has a name. LanceDB's `optimize` does not serve: it merges
    the large fragments too.
    """
    paths = (folder / f"{table}.lance" / "_refs" / "tags").glob("*.json")
    # read one by one, because lance lists none if one is damaged
    named = {path.stem: tagged_version(folder, table, path.stem) for path in paths}
    if version_of(folder, table) in named.values():
        return
    former = max((version for version in named.values() if version), default=None)
    dataset = _dataset(folder, table)
    if sum(map(_is_small, dataset.get_fragments())) > MAX_SMALL:
        dataset.optimize.compact_files(target_rows_per_fragment=ROWS_PER_WRITE)
        dataset = _dataset(folder, table)
    for other, version in named.items():
        if version is None or (other != name and version != former):
            dataset.tags.delete(other)
    (dataset.tags.update if named.get(name) else dataset.tags.create)(name, dataset.version)
    old = [row["version"] for row in dataset.versions() if row["version"] not in (former, dataset.version)]
    if old:
        dataset.cleanup_old_versions(versions=old, delete_unverified=True, error_if_tagged_old_versions=False)


def _is_small(fragment: Any) -> bool:
    """Return whether a fragment should be merged with others."""
    rows: int = fragment.physical_rows
    return rows < ROWS_PER_WRITE or fragment.num_deletions > DELETED_SHARE * rows


def tagged_version(folder: Path, table: str, name: str) -> int | None:
    """Return the version of a table with this name; None if the table, the name or the version is missing."""
    try:
        version = int(_dataset(folder, table).tags.get_version(name))
        return int(_dataset(folder, table, version).version)
    except (OSError, RuntimeError, ValueError):
        return None


def _database(folder: Path) -> Any:
    """Open a folder for writing."""
    import lancedb  # here, because the import takes a second, which readers do not need to wait for

    return lancedb.connect(folder)


def _dataset(folder: Path, table: str, version: int | None = None) -> Any:
    """Open a table for reading."""
    import lance  # here, because searches read no table, and the import takes as long as they do

    return lance.dataset(str(folder / f"{table}.lance"), version=version)


def _assert_unique(table: Any, key: str) -> None:
    keys = table.to_lance().to_table(columns=[key]).column(key)
    if len(keys) != len(keys.unique()):
        raise MismatchError(
            f"the table '{table.name}' contains a {key} twice, probably from two concurrent writers: delete the "
            "table's folder and run the stage again"
        )
