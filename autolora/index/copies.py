"""An immutable copy of one version of the index, in a format that opens without reading it.

`*_vectors.npy`, one file per kind of evidence, and `columns.arrow` are mapped into memory: a search reads the vectors
that it compares, the columns that it filters by, and the rows of its hits. `meta.json`, `text_map.safetensors`,
`tokenizer.json` and, if the encoder has a language, `language*` are those of the working index, and `hashes.json` has
the sha256 of each of these files.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from autolora.errors import MismatchError, MissingArtifact
from autolora.index.store import (
    CAPTIONS_VECTOR,
    DESCRIPTION,
    OF_TEXTS,
    TEXTS_TRUST,
    TEXTS_VECTOR,
    WEIGHTS_VECTOR,
    WHOLE_TEXTS_VECTOR,
    WORDS,
    columns,
)
from autolora.matching.caption_rule import directions
from autolora.matching.evidence import Evidence
from autolora.matching.language import Language
from autolora.storage.arrays import BoolArray, Float32Array, Int64Array
from autolora.storage.arrow_values import text_array
from autolora.storage.files import Row, write_atomic
from autolora.storage.hashes import hash_file, hash_value
from autolora.storage.validation import SHA256
from autolora.text_encoder.tokenizer import FILE as TOKENIZER

COLUMNS_FILE = "columns.arrow"
ROWS_PER_BATCH = 10_000
"""rows that are Python objects at once while all are read"""
HASHES = "hashes.json"
"""file of a copy: relative path -> sha256 of its other files, which `autolora verify` compares, and its own sha256"""

TEXT_MAP_FILE = "text_map.safetensors"
MIN_SHARE = 1e-4
"""as in autolora.encoder.text_map"""
READING_HEADER = threading.Lock()
"""np.load parses a header as Python, which fails in two threads at once before Python 3.11.8 (python/cpython#106905)"""
UNREAD = "no encoder has read them; give one for their base model (`autolora index --encoder FOLDER|ID`)"

DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError)
"""what reading a damaged file raises"""


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
class TextMap:
    """The encoder's text map, unit((features - center) · matrix), in NumPy."""

    center: Float32Array
    """(d,)"""
    matrix: Float32Array
    """(d, d)"""

    @property
    def width(self) -> int:
        """Return the width d of the text features."""
        return len(self.center)

    def project(self, features: Float32Array) -> Float32Array:
        """Return the vectors (N, d) of text features (N, d), of any length."""
        projected: Float32Array = ((features - self.center) @ self.matrix).astype(np.float32, copy=False)
        return projected

    def apply(self, features: Float32Array) -> Float32Array:
        """Return the unit vectors (N, d) of text features (N, d); zero for those of the empty prompt."""
        mapped = self.project(features)
        centered = features - self.center
        lengths = np.linalg.norm(mapped, axis=-1, keepdims=True)
        is_empty = lengths < MIN_SHARE * np.linalg.norm(centered, axis=-1, keepdims=True)
        unit: Float32Array = np.where(is_empty, np.float32(0), mapped / np.maximum(lengths, 1e-12))
        return unit


NO_TEXT_MAP = TextMap(np.zeros(0, np.float32), np.zeros((0, 0), np.float32))


@dataclass(frozen=True, eq=False)
class Index:
    """One immutable index, whose vectors and rows are read when they are accessed."""

    digest: str
    """content digest, over all columns and vectors"""
    weights_vectors: Float32Array
    """(N, d), of the weights: unit vectors, or predictions of any length if the encoder takes captions"""
    rows: Rows
    """(N,) the other columns of each vector"""
    encoder: str
    """digest of the encoder that computed the vectors"""
    text_encoder: str
    """digest of the text encoder whose features the weights are compared with; "" if no encoder has read these"""
    text_map: TextMap
    """from text features to the vectors that weights are compared with"""
    captions_vectors: Float32Array | None = None
    """(N, d'), of the captions that count; zero without any; None if the encoder has learned no language"""
    texts_vectors: Float32Array | None = None
    """(N, d'), the same of the texts about adapters"""
    whole_texts_vectors: Float32Array | None = None
    """(N, d'), of all texts about an adapter as one, as the sentence encoder makes them"""
    language: Language | None = None
    language_folder: Path | None = None
    """of the sentence encoder's files"""
    tokenizers: Mapping[str, Path] = field(default_factory=dict)
    """digest of the text encoder -> its tokenizer.json; empty if no encoder has read the weights"""

    @property
    def has_weights(self) -> bool:
        """Whether an encoder has read the weights."""
        return bool(self.weights_vectors.shape[1])

    @cached_property
    def words(self) -> pa.Array:
        """The words (N,) of the texts about each adapter, each once, of an index with a language."""
        return self.rows.columns.column(WORDS).combine_chunks()

    @cached_property
    def texts_trust(self) -> Float32Array:
        """The log-odds (N,) that the texts about an adapter are its own, of an index with a language."""
        trust: Float32Array = self.rows.columns.column(TEXTS_TRUST).to_numpy().astype(np.float32)
        return trust

    @cached_property
    def weights_lengths(self) -> Float32Array:
        """The lengths (N,) of the vectors of the weights."""
        lengths: Float32Array = np.linalg.norm(self.weights_vectors, axis=1)
        return lengths

    @cached_property
    def evidence(self) -> Evidence:
        """What a prompt is compared with, of an index with a language."""
        assert self.captions_vectors is not None and self.texts_vectors is not None
        assert self.whole_texts_vectors is not None
        weights = self.weights_vectors if self.has_weights else None
        texts = self.texts_vectors, self.whole_texts_vectors, self.texts_trust, self.words
        drawn = pc.fill_null(self.rows.columns.column("drawn"), False).to_numpy()
        return Evidence(weights, self.captions_vectors, *texts, drawn=drawn)

    @property
    def has_captions(self) -> BoolArray:
        """Whether each adapter (N,) has captions that count."""
        return self.evidence.has_captions if self.language else np.zeros(len(self.rows), np.bool_)

    @cached_property
    def weights_directions(self) -> Float32Array:
        """The unit vectors (N, d) of the weights; zero for adapters without a direction."""
        vectors: Float32Array = directions(self.weights_vectors.astype(np.float64)).astype(np.float32)
        return vectors

    def find(self, adapters: Sequence[str]) -> Int64Array:
        """Return the positions (n,) of adapters, named by their sha256; -1 for one that is not in the index."""
        found = pc.index_in(text_array(adapters), value_set=self.rows.columns.column("sha256"))
        return np.array([-1 if position is None else position for position in found.to_pylist()], np.int64)

    def nearest_by_weights(
        self, vector: Float32Array, k: int, mask: BoolArray | None = None
    ) -> tuple[Int64Array, Float32Array]:
        """Return the positions of the k adapters whose weights are nearest to a vector (d,), and their cosines.

        mask (N,): the rows that may be returned. An adapter whose vector of weights is zero has cosine 0. Raises
        MismatchError if no encoder has read the weights.
        """
        if not self.has_weights:
            raise MismatchError(f"adapters cannot be compared by their weights: {UNREAD}")
        products = self.weights_vectors @ vector
        lengths = self.weights_lengths * np.linalg.norm(vector)
        cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        passing = np.arange(len(cosines)) if mask is None else np.flatnonzero(mask)
        order = passing[np.argsort(-cosines[passing], kind="stable")[:k]]
        return order, cosines[order]

    def mask(self, conditions: Sequence[str]) -> BoolArray:
        """Return which rows pass all conditions (N,), each an SQL condition. Raises FilterError if one is not valid.

        Each is parsed alone, so that none can change what another means.
        """
        from autolora.index.filters import (
            evaluate,  # here, because only a search with a filter needs a parser
        )

        passes: BoolArray = np.ones(len(self.rows), dtype=np.bool_)
        for condition in conditions:
            passes &= evaluate(condition, self.rows.columns)
        return passes


def has_weights(meta: Mapping[str, Any]) -> bool:
    """Return whether the meta.json of an index is of one whose weights an encoder has read."""
    return bool(meta.get("width") != 0)


def is_copy(folder: Path) -> bool:
    """Return whether a folder is a copy in this format; one of a former version of AutoLoRA is not."""
    return (folder / COLUMNS_FILE).exists()


def open_copy(folder: Path, digest: str) -> Index:
    """Return the index of a copy. Raises MissingArtifact if its files are damaged or missing."""
    try:
        meta, tokenizer = json.loads((folder / "meta.json").read_bytes()), folder / TOKENIZER
        columns, language, is_read = map_columns(folder), Language.load(folder), has_weights(meta)
        unread = np.zeros((len(columns), 0), np.float32)
        return Index(
            digest=digest,
            weights_vectors=map_vectors(folder, WEIGHTS_VECTOR) if is_read else unread,
            rows=Rows(columns),
            encoder=meta["encoder"],
            text_encoder=meta["text_encoder"],
            text_map=read_text_map(folder) if is_read else NO_TEXT_MAP,
            captions_vectors=map_vectors(folder, CAPTIONS_VECTOR) if language else None,
            texts_vectors=map_vectors(folder, TEXTS_VECTOR) if language else None,
            whole_texts_vectors=map_vectors(folder, WHOLE_TEXTS_VECTOR) if language else None,
            language=language,
            language_folder=folder if language else None,
            tokenizers={meta["text_encoder"]: tokenizer} if tokenizer.exists() else {},
        )
    except (MissingArtifact, *DAMAGED) as error:
        raise _unreadable(folder, error) from error


def check_foreign(index: Index) -> None:
    """Raise MissingArtifact unless columns and vectors of an index that another person has made are well-formed.

    Arrow's reader checks no offset, so values outside of a column would be read from elsewhere in memory; and each
    sha256 becomes a part of paths. This reads all columns: 1 ms per 1,000 rows.
    """
    table, language = index.rows.columns, index.language
    spoken = (index.captions_vectors, index.texts_vectors, index.whole_texts_vectors)
    of_texts = {name: columns(None, 1)[name] for name in OF_TEXTS} if language else {}
    expected = {**columns(None), **of_texts, "row_hash": pa.string()}
    types = dict(zip(table.column_names, table.schema.types, strict=True))
    try:
        if len(types) < len(table.column_names) or not types.items() <= expected.items():
            raise ValueError(f"columns {dict(types.items() - expected.items())}, expected {expected}")
        if missing := expected.keys() - types.keys() - {DESCRIPTION}:
            raise ValueError(f"no column {min(missing)}")
        table.validate(full=True)
        widths = [(index.weights_vectors, index.text_map.width)]
        widths += [(vectors, language.texts.width) for vectors in spoken if language and vectors is not None]
        for vectors, width in widths:
            if vectors.dtype != np.float32 or vectors.shape != (len(table), width):
                raise ValueError(f"vectors {vectors.shape}, expected {(len(table), width)}")
        matches = pc.match_substring_regex(table.column("sha256"), f"^{SHA256.pattern}$")
        if not pc.all(matches, skip_nulls=False, min_count=0).as_py():
            raise ValueError("a sha256 that is not 64 hex digits")
    except ValueError as error:
        raise MissingArtifact(f"index {index.digest[:12]} is malformed ({error}): do not use it") from error


def check_copy(folder: Path) -> None:
    """Raise MissingArtifact if a file of a copy is not the one that was written; reads all of them."""
    hashes = read_hashes(folder)
    if hashes is None:
        raise _unreadable(folder, f"{HASHES} is missing or damaged")
    for name, sha256 in hashes.items():
        path = folder / name
        if not path.is_file() or hash_file(path) != sha256:
            raise _unreadable(folder, f"{name} is missing or damaged")


def read_hashes(folder: Path) -> Mapping[str, str] | None:
    """Return relative path -> sha256 of a copy's files; None if the list is missing or damaged."""
    try:
        content = json.loads((folder / HASHES).read_bytes())
        hashes: Mapping[str, str] = content["files"]
        return hashes if hash_value(hashes) == content["sha256"] else None
    except DAMAGED:
        return None


def _unreadable(folder: Path, reason: object) -> MissingArtifact:
    return MissingArtifact(
        f"the copy {folder} of the index cannot be read ({reason}): run `autolora verify`, which names "
        "the command that mends it, or delete it"
    )


def map_columns(folder: Path) -> pa.Table:
    """Return the columns of a copy but the vectors, mapped into memory."""
    return pa.ipc.open_file(pa.memory_map(str(folder / COLUMNS_FILE))).read_all()


def map_vectors(folder: Path, name: str) -> Float32Array:
    """Return a column of vectors (N, d) of a copy, mapped into memory."""
    with READING_HEADER:
        vectors: Float32Array = np.asarray(np.load(vectors_path(folder, name), mmap_mode="r"))
    return vectors


def vectors_path(folder: Path, name: str) -> Path:
    """Return the file of a column of vectors of a copy."""
    return folder / f"{name}s.npy"


def write_text_map(folder: Path, text_map: TextMap) -> None:
    """Write the text map into the folder of an index, atomically."""
    write_atomic(folder / TEXT_MAP_FILE, save({"center": text_map.center, "matrix": text_map.matrix}))


def read_text_map(folder: Path) -> TextMap:
    """Return the text map of the index in a folder. Raises MissingArtifact if it is missing or damaged."""
    try:
        return TextMap(**load_file(folder / TEXT_MAP_FILE))
    except (OSError, TypeError, SafetensorError) as error:
        raise MissingArtifact(
            f"{folder / TEXT_MAP_FILE} is not a valid text map ({error}): run `dvc repro index`"
        ) from error
