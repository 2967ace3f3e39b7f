"""The index: a vector for each adapter of the dataset, beside the columns that answers and filters need.

A vector is pending by (file, recipe of its sketch, encoder); the other columns by their own values. So a
changed license arrives the same night and embeds nothing.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.inputs import Updates
from autolora.encoder.model import Encoder
from autolora.index.store import EXACT, SCHEMA, TABLE, columns, folder, hash_vector_row
from autolora.params import PoolParams
from autolora.storage.files import Row, hash_value, write_atomic
from autolora.storage.incremental import pending, read_digest, write_digest
from autolora.storage.tables import Columns, has_table, hash_row, open_table, read_table, remove, upsert

VECTOR_KEY = ("sha256", "recipe", "encoder")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What separates the index from what it should be."""

    embed: tuple[tuple[str, ...], ...]
    """batches of adapter sha256 without a vector of this encoder"""
    update: tuple[str, ...]
    """adapters whose vector stands but whose columns have changed"""
    remove: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.embed or self.update or self.remove)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many adapters are embedded, updated and removed."""
        return {
            "embedded": sum(map(len, self.embed)),
            "updated": len(self.update),
            "removed": len(self.remove),
        }


def plan(root: Path, batch: int) -> Plan:
    """Compare the index with the dataset and the encoder.

    batch: adapters written at once. Raises MissingArtifact when a stage before this one has not run.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    wanted = _wanted(root)
    done = _done(root, columns(encoder.config.width))
    vectors = pending(map(_vector_key, wanted.values()), {_vector_key(row) for row in done.values()})
    embed = [sha256 for sha256, _, _ in vectors.add]
    stale = pending(
        [(sha256, hash_row(row, EXACT)) for sha256, row in wanted.items()],
        {(sha256, row["exact_hash"]) for sha256, row in done.items()},
    )
    found = Plan(
        embed=tuple(tuple(embed[i : i + batch]) for i in range(0, len(embed), batch)),
        update=tuple(sha256 for sha256, _ in stale.add if sha256 not in set(embed)),
        remove=tuple(sha256 for sha256 in done if sha256 not in wanted),
    )
    logger.info("index: %s", found.counts)
    return found


def embed(root: Path, batch: Sequence[str], bounds: PoolParams) -> int:
    """Embed these adapters and write their rows; return how many.

    bounds: on weights, which are read where the encoder's probe is full. Raises MismatchError when the encoder
    has learned from sketches of another kind, MissingArtifact when weights are missing.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    wanted = _wanted(root)
    read = encoder_store.reader(root, encoder.config, bounds)
    rows = [_row(wanted[sha256], _embed(encoder, read(sha256))) for sha256 in batch]
    kinds = columns(encoder.config.width)
    upsert(open_table(folder(root), TABLE, kinds), kinds, rows)
    return len(rows)


def update(root: Path, adapters: Sequence[str]) -> int:
    """Write the columns of these adapters anew beside the vectors they have; return how many."""
    if not adapters:
        return 0
    kinds = columns(encoder_store.load_encoder(encoder_store.folder(root)).config.width)
    wanted = _wanted(root)
    stored = read_table(folder(root), TABLE, ["sha256", "vector"])
    vectors = {row["sha256"]: row["vector"] for row in stored if row["sha256"] in set(adapters)}
    rows = [_row(wanted[sha256], vectors[sha256]) for sha256 in adapters]
    upsert(open_table(folder(root), TABLE, kinds), kinds, rows)
    return len(rows)


def withdraw(root: Path, adapters: Sequence[str]) -> int:
    """Remove the rows of these adapters; return how many."""
    if adapters:
        kinds = columns(encoder_store.load_encoder(encoder_store.folder(root)).config.width)
        remove(open_table(folder(root), TABLE, kinds), kinds, adapters)
    return len(adapters)


def finish(root: Path) -> str:
    """Write meta.json, so that the folder can be searched by itself, and the digest; return the digest."""
    encoder = encoder_store.load_encoder(encoder_store.folder(root))
    kinds = columns(encoder.config.width)
    open_table(folder(root), TABLE, kinds)
    meta = {
        "encoder": read_digest(root, "encoder")["sha256"],
        "text_encoder": encoder.config.text_encoder,
        "width": encoder.config.width,
        "text_center": encoder.text_center.tolist(),
    }
    write_atomic(folder(root) / "meta.json", json.dumps(meta, indent=2, sort_keys=True) + "\n")
    rows = read_table(folder(root), TABLE, ["sha256", "exact_hash", "row_hash"])
    exact = hash_value([[row["sha256"], row["exact_hash"]] for row in rows])
    return write_digest(
        root,
        "index",
        {row["sha256"]: row["row_hash"] for row in rows},
        SCHEMA,
        exact=exact,
        encoder=meta["encoder"],
    )


def _wanted(root: Path) -> dict[str, Row]:
    """Return the exact columns of each adapter that should be in the index."""
    encoder = read_digest(root, "encoder")["sha256"]
    rows = (row | {"encoder": encoder} for row in dataset.rows(root, "adapters"))
    return {row["sha256"]: {name: row[name] for name in EXACT} for row in rows}


def _done(root: Path, kinds: Columns) -> Mapping[str, Row]:
    if not has_table(folder(root), TABLE, kinds):
        return {}
    names = [*VECTOR_KEY, "exact_hash"]
    return {row["sha256"]: row for row in read_table(folder(root), TABLE, names)}


def _vector_key(row: Row) -> tuple[str, str, str]:
    return row["sha256"], row["recipe"], row["encoder"]


def _row(exact: Row, vector: Sequence[float]) -> Row:
    row = {**exact, "vector": vector, "exact_hash": hash_row(exact, EXACT)}
    return row | {"row_hash": hash_vector_row(row)}


def _embed(encoder: Encoder, updates: Updates) -> list[float]:
    """Return the unit vector of one adapter, embedded alone: its last bits must not depend on its batch."""
    with torch.inference_mode():
        vector = encoder.embed(updates.values, updates.present)[0]
    found: list[float] = vector.tolist()
    return found
