"""The working index on disk: the table in data/index, its columns and row hashes."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from autolora.errors import MismatchError, MissingArtifact
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import read_digest
from autolora.storage.tables import Columns, hash_row, read_arrow, to_matrix

SCHEMA = 6
TABLE = "adapters"
TEXT, TEXTS, INTEGER, BOOLEAN = pa.string(), pa.list_(pa.string()), pa.int64(), pa.bool_()
WEIGHTS_VECTOR, CAPTIONS_VECTOR, TEXTS_VECTOR = "weights_vector", "captions_vector", "texts_vector"
WHOLE_TEXTS_VECTOR = "whole_texts_vector"
VECTORS = (WEIGHTS_VECTOR, CAPTIONS_VECTOR, TEXTS_VECTOR, WHOLE_TEXTS_VECTOR)
"""columns of vectors: one of weights if an encoder has read them, the others if there is a language"""
TEXTS_TRUST = "texts_trust"
"""column of an index with a language: log-odds that the texts about an adapter are its own"""
DESCRIPTION = "description"
"""column of what is said about an adapter"""
WORDS = "words"
"""column of an index with a language: the words of the texts about an adapter"""
CHECKS = ("agreement", "expected_agreement", "uses_captions")
"""columns that compare captions and weights"""
CAPTION = "caption"
"""column of an index with a language: the caption that is most like all of the adapter's; null if none counts"""
OF_TEXTS = (WORDS, TEXTS_TRUST, CAPTION)
"""further columns of an index with a language"""
EXACT_COLUMNS = {
    "sha256": TEXT,
    "recipe": TEXT,
    "encoder": TEXT,
    "listing_digest": TEXT,
    "captions_digest": TEXT,
    "hub": TEXT,
    "id": TEXT,
    "file": TEXT,
    "license": TEXT,
    "commercial": BOOLEAN,
    "derivatives": BOOLEAN,
    "nsfw": BOOLEAN,
    "nsfw_level": TEXT,
    "person": BOOLEAN,
    "base_model": TEXT,
    "base": TEXT,
    "trigger_words": TEXTS,
    "family": TEXT,
    "split": TEXT,
    "first_seen": pa.date32(),
    "layout": TEXT,
    "num_slots": INTEGER,
    "rank_max": INTEGER,
    "size": INTEGER,
    "warnings": TEXTS,
    "drawn": BOOLEAN,
    DESCRIPTION: TEXTS,
}
"""the row identity; excluded are the vectors, the checks, the trust and `encoder_weights`, which depend on
floating-point results whose last bits differ between processors"""


def folder(root: Path) -> Path:
    """Return the folder of the working index. Searches read copies of it (autolora.index.served)."""
    return root / "data" / "index"


def columns(width: int | None, language_width: int | None = None) -> Columns:
    """Return the columns of an index of vectors of weights (width,), and of language (language_width,), if it has any.

    weights_vector: a unit vector, or what the regression predicts, which is short if the adapter resembles no training
    adapter. agreement: cosine of the weights' vector and the captions' centroid, relative to the mean caption.
    expected_agreement: the lowest one of right captions. uses_captions: whether captions agree with the weights. These
    three are null without captions, or if the encoder takes none. captions_vector, texts_vector: unit means of the
    captions that count, and of the texts, in the spaces of the language; zero without any. whole_texts_vector: what the
    sentence encoder makes of all texts as one, of length 1.
    """
    weights = {WEIGHTS_VECTOR: pa.list_(pa.float32(), width)} if width else {}
    checks = dict(zip(CHECKS, (pa.float32(), pa.float32(), pa.bool_()), strict=True))
    language: Columns = {}
    if language_width:
        vectors = dict.fromkeys(VECTORS[1:], pa.list_(pa.float32(), language_width))
        language = {**vectors, WORDS: TEXTS, TEXTS_TRUST: pa.float32(), CAPTION: TEXT}
    return {**EXACT_COLUMNS, "encoder_weights": TEXT, **weights, **checks, **language, "exact_hash": TEXT}


def hash_exact(row: Row) -> str:
    """Return the sha256 over the columns of a row that do not depend on floating-point results."""
    return hash_row(row, EXACT_COLUMNS)


def vectors_in(names: Iterable[str]) -> tuple[str, ...]:
    """Return those of an index's columns that hold vectors."""
    return tuple(name for name in names if name in VECTORS)


def hash_vector_row(row: Row) -> str:
    """Return the sha256 over all columns of a row, vectors as little-endian float32."""
    arrays = (np.asarray(row[name], dtype="<f4") for name in VECTORS if name in row)
    vectors = [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays]
    others = (row[name] for name in (*CHECKS, *OF_TEXTS) if name in row)
    return hash_value([hash_exact(row), row["encoder_weights"], *vectors, *others])


def content_digest(root: Path) -> str:
    """Return the sha256 over all rows of the working index, vectors included, as digests/index.json states it.

    It names copies and releases of the index. Raises MissingArtifact if the stage `index` has not run, or only the one
    of another version of AutoLoRA.
    """
    digest = read_digest(root, "index")
    if not is_readable(digest):
        raise MissingArtifact(
            f"digests/index.json is not of layout {SCHEMA}: another version of AutoLoRA wrote it; run `dvc repro`"
        )
    return str(digest["content"])


def is_readable(digest: Mapping[str, Any]) -> bool:
    """Return whether this version of AutoLoRA can read the index that a digests/index.json describes."""
    return digest.get("schema") == SCHEMA and "content" in digest


def encoder_digests(root: Path) -> dict[str, str]:
    """Return the columns that identify the trained encoder: `encoder`, what it was trained from, and
    `encoder_weights`, the hash of its config and weights.

    Raises MissingArtifact if the stage `encoder` has not run.
    """
    return {
        "encoder": _field(root, "encoder", "sha256"),
        "encoder_weights": _field(root, "encoder", "weights"),
    }


def _field(root: Path, stage: str, name: str) -> str:
    """Return a field of a stage's digest; raises MissingArtifact if an older version wrote it without that field."""
    value = read_digest(root, stage).get(name)
    if value is None:
        raise MissingArtifact(
            f"digests/{stage}.json has no field '{name}': an older version of AutoLoRA wrote it; run `dvc repro`"
        )
    return str(value)


def read_vectors(root: Path, column: str = WEIGHTS_VECTOR) -> tuple[tuple[str, ...], Float32Array]:
    """Return the adapters (N,) of the working index, sorted by sha256, and their vectors (N, d) of a column.

    Raises MissingArtifact if the index or the encoder does not exist, MismatchError if a vector was computed by
    another encoder than the current one.
    """
    table = read_arrow(folder(root), TABLE, ["sha256", "encoder_weights", column])
    adapters = tuple(table.column("sha256").to_pylist())
    weights = encoder_digests(root)["encoder_weights"]
    for sha256, stored in zip(adapters, table.column("encoder_weights").to_pylist(), strict=True):
        if stored != weights:
            raise MismatchError(
                f"the vector of {sha256} in {folder(root)} was computed with encoder weights {stored[:12]}, but "
                f"digests/encoder.json states {weights[:12]}: run `dvc repro index`"
            )
    return adapters, to_matrix(table.column(column))
