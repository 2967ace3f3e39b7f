"""Stage `index`: one vector per adapter of the dataset, with the columns that search results and filters need.

A vector is identified by its file, the recipe of the sketch and the encoder's weights; it is computed again only
if one of these changes. A change of another column, e.g. the license, rewrites the row and keeps its vector.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.inputs import AdapterBatch, concatenate
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
from autolora.index.text_map import TextMap, write_text_map
from autolora.params import PoolParams
from autolora.storage import tables
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row, write_atomic
from autolora.storage.incremental import digest_of, pending, write_digest
from autolora.storage.tables import (
    ROWS_PER_WRITE,
    Columns,
    has_table,
    hash_row,
    open_table,
    read_arrow,
    read_table,
    to_matrix,
    upsert,
)

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


@dataclass(frozen=True, slots=True, eq=False)
class IndexSync:
    """The working index, the rows that it should have, and the encoder: read once for all steps of a run."""

    root: Path
    encoder: Encoder
    read: Callable[[str], AdapterBatch]
    """from an adapter's sha256 to what the encoder reads"""
    expected: Mapping[str, Row]
    """sha256 -> all columns but the vector and the hashes, of each adapter of the dataset"""
    device: torch.device
    """on which adapters are embedded"""

    @property
    def columns(self) -> Columns:
        """Return the columns of the index."""
        return columns(self.encoder.config.width)

    def plan(self, batch: int) -> Plan:
        """Compare the index with the dataset and the encoder. batch: number of adapters that are embedded per write."""
        stored = _stored_rows(self.root, self.columns)
        vectors = pending(
            map(_vector_key, self.expected.values()), {_vector_key(row) for row in stored.values()}
        )
        embed = [sha256 for sha256, _, _ in vectors.add]
        embedded = set(embed)
        changed = pending(
            [(sha256, hash_row(row, EXACT_COLUMNS)) for sha256, row in self.expected.items()],
            {(sha256, row["exact_hash"]) for sha256, row in stored.items()},
        )
        difference = Plan(
            embed=tuple(tuple(embed[i : i + batch]) for i in range(0, len(embed), batch)),
            update=tuple(sha256 for sha256, _ in changed.add if sha256 not in embedded),
            remove=tuple(sha256 for sha256 in stored if sha256 not in self.expected),
        )
        logger.info("index: %s", difference.counts)
        return difference

    def embed(self, batch: Sequence[str]) -> int:
        """Embed these adapters, write their rows, and return their number.

        Raises MismatchError if the encoder was trained on sketches of another kind, MissingArtifact if weights are
        missing.
        """
        self._write(batch, _embed(self.encoder, map(self.read, batch), self.device))
        return len(batch)

    def update(self, adapters: Sequence[str]) -> int:
        """Rewrite all columns of these adapters except their vectors; return their number."""
        if adapters:
            stored = read_arrow(folder(self.root), TABLE, ["sha256", "vector"])
            rows = {sha256: row for row, sha256 in enumerate(stored.column("sha256").to_pylist())}
            self._write(adapters, to_matrix(stored.column("vector"))[[rows[sha256] for sha256 in adapters]])
        return len(adapters)

    def remove(self, adapters: Sequence[str]) -> int:
        """Remove the rows of these adapters and return their number."""
        if adapters:
            tables.remove(open_table(folder(self.root), TABLE, self.columns), self.columns, adapters)
        return len(adapters)

    def finish(self) -> str:
        """Write meta.json and the text map, which make the folder searchable on its own, and then the digest.

        Returns the digest's sha256.
        """
        if not has_table(folder(self.root), TABLE, self.columns):
            open_table(folder(self.root), TABLE, self.columns)
        digests = encoder_digests(self.root)
        meta = {
            **digests,
            "text_encoder": self.encoder.config.text_encoder,
            "width": self.encoder.config.width,
        }
        text_map = self.encoder.text_map
        write_text_map(
            folder(self.root), TextMap(text_map.center.cpu().numpy(), text_map.matrix.cpu().numpy())
        )
        write_atomic(folder(self.root) / "meta.json", json.dumps(meta, indent=2, sort_keys=True) + "\n")
        rows = read_table(folder(self.root), TABLE, ["sha256", "exact_hash", "row_hash"])
        return write_digest(
            self.root,
            "index",
            {row["sha256"]: row["exact_hash"] for row in rows},
            SCHEMA,
            content=digest_of({row["sha256"]: row["row_hash"] for row in rows}, SCHEMA),
            **digests,
        )

    def _write(self, adapters: Sequence[str], vectors: Float32Array) -> None:
        """Write the rows of these adapters with their vectors (B, d)."""
        table = open_table(folder(self.root), TABLE, self.columns)
        for start in range(0, len(adapters), ROWS_PER_WRITE):
            part = slice(start, start + ROWS_PER_WRITE)
            rows = [
                _row(self.expected[sha256], vector)
                for sha256, vector in zip(adapters[part], vectors[part], strict=True)
            ]
            upsert(table, self.columns, rows)


def open_sync(root: Path, bounds: PoolParams, device: str = "cpu") -> IndexSync:
    """Read the encoder and the dataset.

    bounds: limits on weights, which are read if the encoder's probe is `full`. Raises MissingArtifact if an earlier
    stage has not run.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root)).to(device)
    read = encoder_store.reader(root, encoder.config, bounds)
    return IndexSync(root, encoder, read, _expected_rows(root), torch.device(device))


def _expected_rows(root: Path) -> dict[str, Row]:
    encoder = encoder_digests(root)
    names = [name for name in EXACT_COLUMNS if name not in encoder]
    return {row["sha256"]: row | encoder for row in dataset.rows(root, "adapters", names)}


def _stored_rows(root: Path, index_columns: Columns) -> Mapping[str, Row]:
    if not has_table(folder(root), TABLE, index_columns):
        return {}
    names = ["sha256", "recipe", "encoder_weights", "exact_hash"]
    return {row["sha256"]: row for row in read_table(folder(root), TABLE, names)}


def _vector_key(row: Row) -> tuple[str, str, str]:
    return row["sha256"], row["recipe"], row["encoder_weights"]


def _row(expected: Row, vector: Float32Array) -> Row:
    row = {**expected, "vector": vector, "exact_hash": hash_row(expected, EXACT_COLUMNS)}
    return row | {"row_hash": hash_vector_row(row)}


def _embed(encoder: Encoder, adapters: Iterator[AdapterBatch], device: torch.device) -> Float32Array:
    """Return the unit vectors (B, d) of adapters.

    Sketches are embedded together on a GPU. Otherwise each adapter is embedded alone: on the CPU, because the last
    bits of a batched result depend on the batch, and weights, because they are large.
    """
    is_batched = device.type == "cuda" and encoder.config.variant.probe == "sketch"
    batches = [concatenate(list(adapters))] if is_batched else adapters
    vectors: list[Tensor] = []
    with torch.inference_mode():
        for batch in batches:
            moved = batch.to(device)
            vectors.append(encoder.embed(moved.values, moved.present).cpu())
    result: Float32Array = torch.cat(vectors).numpy()
    return result
