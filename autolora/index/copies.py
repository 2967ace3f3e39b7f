"""An immutable copy of one version of the index, in a format that opens without reading it.

`vectors.npy` and `columns.arrow` are mapped into memory: a search reads the vectors that it compares, the columns that
it filters by, and the rows of its hits. A large index has `lists.safetensors`, and its rows are sorted by these lists
instead of by sha256. `weights_vectors.npy`, `meta.json` and `text_map.safetensors` are those of the working index, and
`hashes.json` has the sha256 of each of these files.
"""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from autolora.errors import MissingArtifact
from autolora.index.inverted_lists import MIN_ROWS, InvertedLists, build_lists, read_lists, write_lists
from autolora.index.nearest import find_nearest
from autolora.index.store import CHECKS, EXACT_COLUMNS, SCHEMA, TABLE, VECTORS, hash_vector_row
from autolora.index.text_map import TextMap, read_text_map, write_text_map
from autolora.matching.relevance import Relevance
from autolora.storage.arrays import BoolArray, Float32Array, Int64Array
from autolora.storage.files import Row, write_atomic
from autolora.storage.hashes import canonical_json, hash_files, hash_value
from autolora.storage.incremental import digest_of
from autolora.storage.tables import read_arrow, tagged_version, to_matrix, version_of

COLUMNS = (*EXACT_COLUMNS, "encoder_weights", *CHECKS, "exact_hash", "row_hash")
"""all but the vectors"""
COLUMNS_FILE = "columns.arrow"
ROWS_PER_BATCH = 10_000
"""rows that are Python objects at once while all are read"""
HASHES = "hashes.json"
"""file of a copy: relative path -> sha256 of its other files, which `autolora verify` compares, and its own sha256"""


class IncompleteIndexError(Exception):
    """A folder does not hold the wanted index: it is being written, or holds another one."""


class Rows:
    """The rows of an index; each is read when it is accessed."""

    def __init__(self, columns: pa.Table) -> None:
        """columns: all columns but the vectors."""
        self.columns = columns

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def __getitem__(self, position: int) -> Row:
        row: Row = self.columns.slice(position, 1).to_pylist()[0]
        return row

    def __iter__(self) -> Iterator[Row]:
        for batch in self.columns.to_batches(max_chunksize=ROWS_PER_BATCH):
            yield from batch.to_pylist()


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """One immutable index, whose vectors and rows are read when they are accessed."""

    digest: str
    """content digest, over all columns and vectors"""
    vectors: Float32Array
    """(N, d), unit vectors"""
    weights_vectors: Float32Array
    """(N, d), unit vectors of the weights alone"""
    rows: Rows
    """(N,) the other columns of each vector"""
    encoder: str
    """digest of the encoder that computed the vectors"""
    text_encoder: str
    """digest of the text encoder whose features the vectors are compared with"""
    text_map: TextMap
    """from text features to the vectors that adapters are compared with"""
    relevance: Relevance | None
    """from a cosine to the probability that a prompt asks for what an adapter does; None if the encoder was imported"""
    lists: InvertedLists | None = None
    """of a large index"""

    def find(self, adapters: Sequence[str]) -> Int64Array:
        """Return the positions (n,) of adapters, named by their sha256; -1 for one that is not in the index."""
        positions = pc.index_in(pa.array(adapters, pa.string()), value_set=self.rows.columns.column("sha256"))
        found: Int64Array = positions.fill_null(-1).to_numpy().astype(np.int64)
        return found

    @property
    def uses_captions(self) -> BoolArray:
        """Return whether each vector contains captions (N,)."""
        column = self.rows.columns.column("uses_captions").fill_null(False)
        values: BoolArray = column.to_numpy(zero_copy_only=False).astype(np.bool_)
        return values

    def nearest(
        self, query: Float32Array, k: int, mask: BoolArray | None = None
    ) -> tuple[Int64Array, Float32Array]:
        """Return the positions of the k rows nearest to a unit vector (d,), best first, and their cosines.

        mask (N,): the rows that may be returned. In a large index a few of the nearest can be missed.
        """
        return find_nearest(self.vectors, query, k, mask, self.lists)

    def mask(self, where: str) -> BoolArray:
        """Return which rows pass a filter (N,), an SQL condition. Raises FilterError if it is not valid."""
        # imported here, because only a search with a filter needs a parser
        from autolora.index.filters import evaluate

        return evaluate(where, self.rows.columns)


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """All of one version of an index."""

    columns: pa.Table
    """COLUMNS of each row"""
    vectors: tuple[Float32Array, ...]
    """(N, d) each, in the order of VECTORS"""
    meta: dict[str, Any]
    text_map: TextMap


def is_copy(folder: Path) -> bool:
    """Return whether a folder is a copy in this format; one of a former version of AutoLoRA is not."""
    return (folder / COLUMNS_FILE).exists()


def open_copy(folder: Path, digest: str) -> Index:
    """Return the index of a copy. Raises MissingArtifact if its files are damaged or missing."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        return Index(
            digest=digest,
            vectors=_map_vectors(folder, "vector"),
            weights_vectors=_map_vectors(folder, "weights_vector"),
            rows=Rows(map_columns(folder)),
            encoder=meta["encoder"],
            text_encoder=meta["text_encoder"],
            text_map=read_text_map(folder),
            relevance=Relevance.from_json(meta["relevance"]) if meta["relevance"] else None,
            lists=read_lists(folder),
        )
    except (MissingArtifact, OSError, ValueError, KeyError) as error:
        raise MissingArtifact(
            f"the copy {folder} of the index cannot be read ({error}): run `autolora repair --apply`, or delete it"
        ) from error


def make_copy(path: Path, digest: str, source: Path) -> None:
    """Write a copy of an index, and the sha256 of each of its files, to the folder `path`.

    source: the folder of a working index, or a copy. Raises IncompleteIndexError if it does not hold that index.
    """
    content = read_verified(source, digest)
    with _atomic_folder(path) as folder:
        write_content(folder, content)
        files = hash_files(folder)
        write_atomic(folder / HASHES, canonical_json({"files": files, "sha256": hash_value(files)}))


def read_verified(source: Path, digest: str) -> Content:
    """Return the version with this digest in a working index or a copy, after checking each row.

    Writers only append versions to the table of a working index, so the version before an unfinished run is still
    readable. Raises IncompleteIndexError if `source` does not hold that version, or a row contradicts its hash.
    """
    try:
        content = (_read_copy if is_copy(source) else _read_working)(source, digest)
    except (MissingArtifact, OSError, ValueError) as error:
        raise IncompleteIndexError(f"{source} is being written: {error}") from error
    if _digest(content.columns) != digest:
        raise IncompleteIndexError(f"{source} does not contain index {digest} (yet)")
    weights = content.meta["encoder_weights"]
    pairs = zip(*content.vectors, strict=True)
    for row, vectors in zip(Rows(content.columns), pairs, strict=True):
        if hash_vector_row(row | dict(zip(VECTORS, vectors, strict=True))) != row["row_hash"]:
            raise IncompleteIndexError(f"{source}: the row of {row['sha256']} does not match its row_hash")
        if row["encoder_weights"] != weights:
            raise IncompleteIndexError(
                f"{source}: the vector of {row['sha256']} was computed with encoder weights "
                f"{row['encoder_weights'][:12]}, but meta.json states {weights[:12]}"
            )
    return content


def _digest(columns: pa.Table) -> str:
    names, hashes = (columns.column(name).to_pylist() for name in ("sha256", "row_hash"))
    return digest_of(dict(zip(names, hashes, strict=True)), SCHEMA)


def _read_working(folder: Path, digest: str) -> Content:
    """Return the version of a working index that the tag of this digest names, or the newest one without a tag."""
    version = tagged_version(folder, TABLE, digest) or version_of(folder, TABLE)
    meta, text_map = json.loads((folder / "meta.json").read_text()), read_text_map(folder)
    rows = read_arrow(folder, TABLE, [*COLUMNS, *VECTORS], version)
    vectors = tuple(to_matrix(rows.column(name)) for name in VECTORS)
    return Content(rows.select(list(COLUMNS)), vectors, meta, text_map)


def _read_copy(folder: Path, digest: str) -> Content:
    """Return the content of a copy. digest: checked by the caller."""
    vectors = tuple(_map_vectors(folder, name) for name in VECTORS)
    meta = json.loads((folder / "meta.json").read_text())
    return Content(map_columns(folder), vectors, meta, read_text_map(folder))


def write_content(folder: Path, content: Content) -> None:
    """Write all files of a copy but the hashes."""
    columns, order = content.columns, np.arange(content.columns.num_rows)
    if len(order) >= MIN_ROWS:
        order, lists = build_lists(content.vectors[0])
        columns = columns.take(order)
        write_lists(folder, lists)
    with pa.ipc.new_file(folder / COLUMNS_FILE, columns.schema) as writer:
        writer.write_table(columns.combine_chunks())
    for name, vectors in zip(VECTORS, content.vectors, strict=True):
        np.save(_vectors_path(folder, name), vectors[order])
    write_atomic(folder / "meta.json", json.dumps(content.meta))
    write_text_map(folder, content.text_map)


def map_columns(folder: Path) -> pa.Table:
    """Return the columns of a copy but the vectors, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(folder / COLUMNS_FILE))).read_all()


def _map_vectors(folder: Path, name: str) -> Float32Array:
    vectors: Float32Array = np.asarray(np.load(_vectors_path(folder, name), mmap_mode="r"))
    return vectors


def _vectors_path(folder: Path, name: str) -> Path:
    """Return the path of a column of vectors in a copy."""
    return folder / f"{name}s.npy"


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on exit, make its files read-only and rename it to `path`.

    If another process has made the copy `path` meanwhile, that is used and the temporary folder deleted.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
    former = folder.with_name(f"{folder.name}.former")
    try:
        yield folder
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o755)
        if path.exists() and not is_copy(path):  # of a former version of AutoLoRA
            path.rename(former)
        try:
            folder.rename(path)
        except OSError:
            if not is_copy(path):
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)
