"""Stage `index`: one vector per adapter of the dataset, with the columns that search results and filters need.

A vector is identified by its file, the recipe of the sketch and the encoder's weights; it is computed again only
if one of these changes. A change of another column, e.g. the license, rewrites the row and keeps its vector.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.inputs import AdapterBatch
from autolora.encoder.model import Encoder
from autolora.index.store import (
    EXACT_COLUMNS,
    SCHEMA,
    TABLE,
    columns,
    encoder_digests,
    folder,
    hash_vector_row,
)
from autolora.params import PoolParams
from autolora.storage import tables
from autolora.storage.files import Row, write_atomic
from autolora.storage.incremental import digest_of, pending, write_digest
from autolora.storage.tables import Columns, has_table, hash_row, open_table, read_table, upsert

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """The difference between the stored index and the expected one."""

    embed: tuple[tuple[str, ...], ...]
    """batches of sha256 of adapters without a vector of the current encoder"""
    update: tuple[str, ...]
    """adapters whose vector is current but whose other columns have changed"""
    remove: tuple[str, ...]
    """adapters that are not in the dataset any more"""

    @property
    def counts(self) -> dict[str, int]:
        """Return the numbers of adapters to embed, update and remove."""
        return {
            "embedded": sum(map(len, self.embed)),
            "updated": len(self.update),
            "removed": len(self.remove),
        }


def plan(root: Path, batch: int) -> Plan:
    """Compare the index with the dataset and the encoder.

    batch: number of adapters per write. Raises MissingArtifact if an earlier stage has not run.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    expected = _expected_rows(root)
    stored = _stored_rows(root, columns(encoder.config.width))
    vectors = pending(map(_vector_key, expected.values()), {_vector_key(row) for row in stored.values()})
    embed = [sha256 for sha256, _, _ in vectors.add]
    changed = pending(
        [(sha256, hash_row(row, EXACT_COLUMNS)) for sha256, row in expected.items()],
        {(sha256, row["exact_hash"]) for sha256, row in stored.items()},
    )
    difference = Plan(
        embed=tuple(tuple(embed[i : i + batch]) for i in range(0, len(embed), batch)),
        update=tuple(sha256 for sha256, _ in changed.add if sha256 not in set(embed)),
        remove=tuple(sha256 for sha256 in stored if sha256 not in expected),
    )
    logger.info("index: %s", difference.counts)
    return difference


@dataclass(frozen=True, slots=True, eq=False)
class Embedder:
    """The trained encoder with the rows that the index should have: read once, for all batches of a run."""

    table: Path
    encoder: Encoder
    expected: Mapping[str, Row]
    read: Callable[[str], AdapterBatch]

    def embed(self, batch: Sequence[str]) -> int:
        """Embed these adapters, write their rows, and return their number.

        Raises MismatchError if the encoder was trained on sketches of another kind, MissingArtifact if weights are
        missing.
        """
        rows = [_row(self.expected[sha256], _embed(self.encoder, self.read(sha256))) for sha256 in batch]
        index_columns = columns(self.encoder.config.width)
        upsert(open_table(self.table, TABLE, index_columns), index_columns, rows)
        return len(rows)


def open_embedder(root: Path, bounds: PoolParams) -> Embedder:
    """Return an embedder for the current encoder and dataset.

    bounds: limits on weights, which are read if the encoder's probe is `full`. Raises MissingArtifact if an earlier
    stage has not run.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    read = encoder_store.reader(root, encoder.config, bounds)
    return Embedder(folder(root), encoder, _expected_rows(root), read)


def update(root: Path, adapters: Sequence[str]) -> int:
    """Rewrite all columns of these adapters except their vectors; return their number."""
    if not adapters:
        return 0
    index_columns = columns(encoder_store.load_encoder(encoder_store.folder(root)).config.width)
    expected = _expected_rows(root)
    stored = read_table(folder(root), TABLE, ["sha256", "vector"])
    vectors = {row["sha256"]: row["vector"] for row in stored if row["sha256"] in set(adapters)}
    rows = [_row(expected[sha256], vectors[sha256]) for sha256 in adapters]
    upsert(open_table(folder(root), TABLE, index_columns), index_columns, rows)
    return len(rows)


def remove(root: Path, adapters: Sequence[str]) -> int:
    """Remove the rows of these adapters and return their number."""
    if adapters:
        index_columns = columns(encoder_store.load_encoder(encoder_store.folder(root)).config.width)
        tables.remove(open_table(folder(root), TABLE, index_columns), index_columns, adapters)
    return len(adapters)


def finish(root: Path) -> str:
    """Write meta.json, which makes the folder searchable on its own, and then the digest; return its sha256."""
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    open_table(folder(root), TABLE, columns(encoder.config.width))
    meta = {
        **encoder_digests(root),
        "text_encoder": encoder.config.text_encoder,
        "width": encoder.config.width,
        "text_center": encoder.text_center.tolist(),
    }
    write_atomic(folder(root) / "meta.json", json.dumps(meta, indent=2, sort_keys=True) + "\n")
    rows = read_table(folder(root), TABLE, ["sha256", "exact_hash", "row_hash"])
    return write_digest(
        root,
        "index",
        {row["sha256"]: row["exact_hash"] for row in rows},
        SCHEMA,
        content=digest_of({row["sha256"]: row["row_hash"] for row in rows}, SCHEMA),
        **encoder_digests(root),
    )


def _expected_rows(root: Path) -> dict[str, Row]:
    """Return sha256 -> all columns but the vector and hashes, for each adapter of the dataset."""
    encoder = encoder_digests(root)
    rows = (row | encoder for row in dataset.rows(root, "adapters"))
    return {row["sha256"]: {name: row[name] for name in (*EXACT_COLUMNS, *encoder)} for row in rows}


def _stored_rows(root: Path, index_columns: Columns) -> Mapping[str, Row]:
    if not has_table(folder(root), TABLE, index_columns):
        return {}
    names = ["sha256", "recipe", "encoder_weights", "exact_hash"]
    return {row["sha256"]: row for row in read_table(folder(root), TABLE, names)}


def _vector_key(row: Row) -> tuple[str, str, str]:
    return row["sha256"], row["recipe"], row["encoder_weights"]


def _row(expected: Row, vector: Sequence[float]) -> Row:
    row = {**expected, "vector": vector, "exact_hash": hash_row(expected, EXACT_COLUMNS)}
    return row | {"row_hash": hash_vector_row(row)}


def _embed(encoder: Encoder, adapter: AdapterBatch) -> list[float]:
    """Return the unit vector (d,) of one adapter.

    Adapters are embedded one at a time because the last bits of a batched result depend on the batch.
    """
    with torch.inference_mode():
        vector: list[float] = encoder.embed(adapter.values, adapter.present)[0].tolist()
    return vector
