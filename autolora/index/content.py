"""The content of one version of the index: read from the working index or a copy, checked, and written as a copy."""

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from autolora.errors import MissingArtifact
from autolora.index.copies import (
    COLUMNS_FILE,
    HASHES,
    Rows,
    TextMap,
    has_weights,
    is_copy,
    map_columns,
    map_vectors,
    read_text_map,
    vectors_path,
    write_text_map,
)
from autolora.index.store import (
    CHECKS,
    EXACT_COLUMNS,
    OF_TEXTS,
    SCHEMA,
    TABLE,
    VECTORS,
    hash_vector_row,
    vectors_in,
)
from autolora.matching.language import FILE as LANGUAGE
from autolora.storage.arrays import Float32Array
from autolora.storage.files import write_atomic
from autolora.storage.hashes import canonical_json, hash_files, hash_value
from autolora.storage.incremental import digest_of
from autolora.storage.tables import columns_of, read_arrow, tagged_version, to_matrix, version_of
from autolora.text_encoder.sentences import SAVED_FILES
from autolora.text_encoder.tokenizer import FILE as TOKENIZER

LANGUAGE_FILES = (LANGUAGE, *SAVED_FILES)
COLUMNS = (*EXACT_COLUMNS, "encoder_weights", *CHECKS, "exact_hash", "row_hash")
"""all but the vectors, and those of texts, which an index without a language lacks"""


class IncompleteIndexError(Exception):
    """A folder does not hold the wanted index: it is being written, or holds another one."""


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """All of one version of an index."""

    columns: pa.Table
    """COLUMNS of each row, and with a language those of texts"""
    vectors: Mapping[str, Float32Array]
    """column -> (N, d)"""
    meta: dict[str, Any]
    text_map: TextMap | None
    """None if no encoder has read the weights"""
    files: Mapping[str, Path] = field(default_factory=dict)
    """name -> file of the source, of what is copied as it is: the tokenizer, and the language with its model"""


def make_copy(path: Path, digest: str, source: Path) -> None:
    """Write a copy of an index, and the sha256 of each of its files, to the folder `path`.

    source: the folder of a working index, or a copy. Raises IncompleteIndexError if it does not hold that index,
    MissingArtifact if `path` exists and is not a copy.
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
    names, pairs = content.vectors.keys(), zip(*content.vectors.values(), strict=True)
    for row, vectors in zip(Rows(content.columns), pairs, strict=True):
        if hash_vector_row(row | dict(zip(names, vectors, strict=True))) != row["row_hash"]:
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
    meta = json.loads((folder / "meta.json").read_text())
    text_map = read_text_map(folder) if has_weights(meta) else None
    stored = columns_of(folder, TABLE, version)
    names, columns = vectors_in(stored), [*COLUMNS, *(name for name in OF_TEXTS if name in stored)]
    rows = read_arrow(folder, TABLE, [*columns, *names], version)
    vectors = {name: to_matrix(rows.column(name)) for name in names}
    return Content(rows.select(columns), vectors, meta, text_map, _copied_files(folder))


def _read_copy(folder: Path, digest: str) -> Content:
    """Return the content of a copy. digest: checked by the caller."""
    names = [name for name in VECTORS if vectors_path(folder, name).exists()]
    vectors = {name: map_vectors(folder, name) for name in names}
    meta = json.loads((folder / "meta.json").read_text())
    text_map = read_text_map(folder) if has_weights(meta) else None
    return Content(map_columns(folder), vectors, meta, text_map, _copied_files(folder))


def _copied_files(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in (TOKENIZER, *LANGUAGE_FILES) if (folder / name).exists()}


def write_content(folder: Path, content: Content) -> None:
    """Write all files of a copy but the hashes."""
    with pa.ipc.new_file(folder / COLUMNS_FILE, content.columns.schema) as writer:
        writer.write_table(content.columns.combine_chunks())
    for name, vectors in content.vectors.items():
        np.save(vectors_path(folder, name), vectors)
    write_atomic(folder / "meta.json", json.dumps(content.meta))
    if content.text_map is not None:
        write_text_map(folder, content.text_map)
    for name, source in content.files.items():
        _copy_or_link(source, folder / name)


def _copy_or_link(source: Path, target: Path) -> None:
    """Copy a file; link to that of another copy beside it, if it is the same, as copies are never changed."""
    for other in target.parent.parent.glob(f"*/{source.name}"):
        if other.parent != target.parent and filecmp.cmp(other, source, shallow=False):
            try:
                os.link(other, target)
            except OSError:  # the file system has no links, or the other copy has just been removed
                break
            return
    shutil.copyfile(source, target)


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder; on exit, make its files read-only and rename it to `path`.

    If another process has made the copy `path` meanwhile, that is used and the temporary folder deleted. A copy is
    never replaced, because a reader may be opening it: raises MissingArtifact if `path` holds something else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", dir=path.parent))
    try:
        yield folder
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o755)
        try:
            folder.rename(path)
        except OSError as error:
            if not path.exists():
                raise
            if not is_copy(path):
                raise MissingArtifact(
                    f"{path} is not a copy of the index: it has no {COLUMNS_FILE}; run `autolora verify`, "
                    "which names the command that mends it, or delete it"
                ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
