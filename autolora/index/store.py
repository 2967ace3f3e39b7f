"""The working index on disk: its table, columns and row hashes in data/index."""

import hashlib
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa

from autolora.storage.files import Row, hash_value
from autolora.storage.tables import Columns, hash_row

SCHEMA = 1
TABLE = "adapters"
TEXT = pa.string()
EXACT = {
    "sha256": TEXT,
    "recipe": TEXT,
    "encoder": TEXT,
    "listing_digest": TEXT,
    "hub": TEXT,
    "id": TEXT,
    "file": TEXT,
    "license": TEXT,
    "nsfw": pa.bool_(),
    "base_model": TEXT,
    "trigger_words": pa.list_(TEXT),
    "family": TEXT,
    "split": TEXT,
    "first_seen": pa.date32(),
}

logger = logging.getLogger(__name__)


def folder(root: Path) -> Path:
    """Return the folder of the working index: the writer's; readers open copies (autolora.retrieval)."""
    return root / "data" / "index"


def columns(width: int) -> Columns:
    """Return the columns of an index of vectors (width,)."""
    return {**EXACT, "vector": pa.list_(pa.float32(), width), "exact_hash": TEXT}


def hash_vector_row(row: Row) -> str:
    """Return the sha256 over a row's exact columns and the bytes of its vector, little-endian float32."""
    vector = np.asarray(row["vector"], dtype="<f4").tobytes()
    return hash_value([hash_row(row, EXACT), hashlib.sha256(vector).hexdigest()])
