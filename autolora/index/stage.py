"""Stage `index`: one vector per adapter of the dataset, with the columns that search results and filters need.

A row's vectors are identified by the file, the recipe of the sketch, the encoder's weights, the captions and the texts;
they are computed again only if one of these changes. A change of another column, e.g. the license, rewrites the row and
keeps its vectors.
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
from autolora.encoder.model import (
    Encoder,
    TextEncoder,
    caption_rule,
    check_text_encoder,
)
from autolora.errors import MismatchError
from autolora.index.copies import TEXT_MAP_FILE, TextMap, write_text_map
from autolora.index.descriptions import SAID, texts_of, whole_text_of, words_of
from autolora.index.embedding import embed
from autolora.index.evidence import EvidenceReader, evidence_reader
from autolora.index.store import (
    CHECKS,
    EXACT_COLUMNS,
    OF_TEXTS,
    SCHEMA,
    TABLE,
    WEIGHTS_VECTOR,
    WORDS,
    columns,
    encoder_digests,
    folder,
    hash_exact,
    hash_vector_row,
    vectors_in,
)
from autolora.lora.verdict import FULL_RANK
from autolora.matching.language import FILE as LANGUAGE
from autolora.matching.language import Language
from autolora.params import ModelsParams, PoolParams
from autolora.records import Caption
from autolora.storage import tables
from autolora.storage.arrays import Float32Array
from autolora.storage.files import Row, write_atomic
from autolora.storage.hashes import hash_value
from autolora.storage.incremental import digest_of, pending, write_digest
from autolora.storage.tables import (
    ROWS_PER_WRITE,
    Columns,
    finish_version,
    has_table,
    open_table,
    read_arrow,
    read_table,
    to_matrix,
    upsert,
)
from autolora.text_encoder.clip import load_numpy_text_encoder
from autolora.text_encoder.sentences import SAVED_FILES, SentenceEncoder, save_sentence_encoder
from autolora.text_encoder.tokenizer import FILE as TOKENIZER

NO_ENCODER = {"text_encoder": "", "width": 0, "agreement_margin": None}
"""what meta.json states if no encoder reads the weights"""
KEY = "key"
"""field of a computed row: the hash of what identifies its vector"""
BATCH = 64
"""adapters that are embedded per write"""

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
    encoder: Encoder | None
    """None if no encoder reads the weights: then the texts about adapters count"""
    read: Callable[[str], AdapterBatch] | None
    """from an adapter's sha256 to what the encoder reads; None without an encoder"""
    expected: Mapping[str, Row]
    """sha256 -> all columns but the vector and the hashes, of each adapter of the dataset"""
    device: torch.device
    """on which adapters are embedded"""
    captions: Mapping[str, tuple[Caption, ...]]
    """by image; empty if the encoder takes no captions"""
    renderings: Mapping[str, Sequence[str]]
    """adapter -> sha256 of its images"""
    evidence: EvidenceReader
    """of captions and texts"""
    text_encoder: TextEncoder | None
    """None if the encoder takes no captions"""
    language: Language | None
    sentences: SentenceEncoder | None
    """None if the encoder has no language"""

    @property
    def columns(self) -> Columns:
        """Return the columns of the index."""
        width = self.encoder.config.width if self.encoder else None
        return columns(width, self.language.texts.width if self.language else None)

    def plan(self, batch: int = BATCH) -> Plan:
        """Compare the index with the dataset and the encoder. batch: number of adapters that are embedded per write."""
        stored = _stored_rows(self.root, self.columns)
        vectors = pending(
            map(self._vector_key, self.expected.values()), {self._vector_key(row) for row in stored.values()}
        )
        embed = [sha256 for sha256, *_ in vectors.add]
        embedded = set(embed)
        changed = pending(
            [(sha256, hash_exact(row)) for sha256, row in self.expected.items()],
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
        """Embed these adapters, write their rows, and return their number. Raises as `compute`."""
        return self.store(self.compute(batch))

    def compute(self, batch: Sequence[str]) -> list[Row]:
        """Return the computed columns of these adapters, with their sha256 and the KEY of what they follow from.

        Raises MismatchError if the encoder was trained on sketches of another kind, MissingArtifact if weights are
        missing.
        """
        weights: Sequence[Float32Array | None] = [None] * len(batch)
        if self.encoder is not None and self.read is not None:
            weights = list(embed(self.encoder, map(self.read, batch), self.device))
        computed = [self._compute(*pair) for pair in zip(batch, weights, strict=True)]
        return [
            {"sha256": sha256, KEY: self._key(sha256), **row}
            for sha256, row in zip(batch, computed, strict=True)
        ]

    def store(self, rows: Sequence[Row]) -> int:
        """Write rows of `compute` and return their number; those of what is not current any more are left out."""
        current = [
            row for row in rows if row["sha256"] in self.expected and row[KEY] == self._key(row["sha256"])
        ]
        computed = [{name: row[name] for name in row if name != KEY} for row in current]
        self._write([row["sha256"] for row in current], computed)
        return len(current)

    def _compute(self, sha256: str, weights: Float32Array | None) -> Row:
        """Return the computed columns of an adapter from the vector of its weights (d,)."""
        row, groups = self.expected[sha256], self._groups(sha256)
        computed = self.evidence.read(weights, groups, texts_of(row), whole_text_of(row), row["drawn"])
        known = {} if weights is None else {WEIGHTS_VECTOR: weights}
        said = {WORDS: words_of(row)} if self.language else {}
        return {**known, **said, **computed}

    def update(self, adapters: Sequence[str]) -> int:
        """Rewrite all columns of these adapters except their vectors; return their number."""
        if adapters:
            vectors = vectors_in(self.columns)
            others = (*CHECKS, *(OF_TEXTS if self.language else ()))
            stored = read_arrow(folder(self.root), TABLE, ["sha256", *vectors, *others])
            rows = {sha256: row for row, sha256 in enumerate(stored.column("sha256").to_pylist())}
            columns = {name: to_matrix(stored.column(name)) for name in vectors} | {
                name: stored.column(name).to_pylist() for name in others
            }
            self._write(
                adapters,
                [{name: column[rows[sha256]] for name, column in columns.items()} for sha256 in adapters],
            )
        return len(adapters)

    def remove(self, adapters: Sequence[str]) -> int:
        """Remove the rows of these adapters and return their number."""
        if adapters:
            tables.remove(open_table(folder(self.root), TABLE, self.columns), self.columns, adapters)
        return len(adapters)

    def save_tokenizer(self, params: ModelsParams) -> None:
        """Write tokenizer.json, with which searches read prompts without transformers.

        Raises MismatchError if the encoder was trained with another text encoder than that of `params.pipeline`.
        """
        text_encoder = load_numpy_text_encoder(self.root, params)
        assert self.encoder is not None
        check_text_encoder(self.encoder, text_encoder.digest)
        write_atomic(folder(self.root) / TOKENIZER, text_encoder.tokenizer.to_json())

    def finish(self) -> str:
        """Write meta.json, the text map and the language, which make the folder searchable on its own, then the digest.

        meta.json comes first: it names the encoder, so that nobody pairs rows of a former one with what follows.
        The table's version gets a tag, by which readers find it while the next run writes. Returns the digest's sha256.
        """
        if not has_table(folder(self.root), TABLE, self.columns):
            open_table(folder(self.root), TABLE, self.columns)
        digests = encoder_digests(self.root)
        meta = {**digests, **(NO_ENCODER if self.encoder is None else _describe(self.encoder))}
        write_atomic(folder(self.root) / "meta.json", json.dumps(meta, indent=2, sort_keys=True) + "\n")
        if self.encoder is None:
            for name in (TEXT_MAP_FILE, TOKENIZER):
                (folder(self.root) / name).unlink(missing_ok=True)
        else:
            text_map = self.encoder.text_map
            write_text_map(
                folder(self.root), TextMap(text_map.center.cpu().numpy(), text_map.matrix.cpu().numpy())
            )
        self._save_language()
        rows = read_table(folder(self.root), TABLE, ["sha256", "exact_hash", "row_hash"])
        content = digest_of({row["sha256"]: row["row_hash"] for row in rows}, SCHEMA)
        finish_version(folder(self.root), TABLE, content)
        return write_digest(
            self.root,
            "index",
            {row["sha256"]: row["exact_hash"] for row in rows},
            SCHEMA,
            content=content,
            **digests,
        )

    def _save_language(self) -> None:
        """Write the language and its sentence encoder beside the vectors, or remove those of a former encoder."""
        if self.language is not None and self.sentences is not None:
            save_sentence_encoder(self.sentences, folder(self.root))
            self.language.save(folder(self.root))
            return
        for name in (LANGUAGE, *SAVED_FILES):
            (folder(self.root) / name).unlink(missing_ok=True)

    def _vector_key(self, row: Row) -> tuple[str, str, str, str, str]:
        captions = row["captions_digest"] if self.text_encoder or self.sentences else ""
        said = hash_value([texts_of(row), whole_text_of(row)]) if self.language else ""
        return row["sha256"], row["recipe"], row["encoder_weights"], captions, said

    def _key(self, sha256: str) -> str:
        return hash_value(self._vector_key(self.expected[sha256]))

    def _groups(self, sha256: str) -> list[list[str]]:
        """Return the captions of each rendering of an adapter that has some."""
        captioned = [self.captions[image] for image in self.renderings[sha256] if image in self.captions]
        return [[caption.text for caption in captions] for captions in captioned]

    def _write(self, adapters: Sequence[str], computed: Sequence[Row]) -> None:
        """Write the rows of these adapters with their computed columns."""
        table = open_table(folder(self.root), TABLE, self.columns)
        for start in range(0, len(adapters), ROWS_PER_WRITE):
            part = slice(start, start + ROWS_PER_WRITE)
            rows = [
                _row(self.expected[sha256], columns)
                for sha256, columns in zip(adapters[part], computed[part], strict=True)
            ]
            upsert(table, self.columns, rows)


def open_sync(
    root: Path,
    bounds: PoolParams,
    load_text_encoder: Callable[[], TextEncoder],
    load_sentences: Callable[[], SentenceEncoder | None] = lambda: None,
    device: str = "cpu",
    has_encoder: bool = True,
) -> IndexSync:
    """Read the encoder and the dataset.

    bounds: limits on weights, which are read if the encoder's probe is `full`. load_text_encoder: called if the encoder
    takes captions. load_sentences: called if it has a language; returns the sentence encoder that encoder.language
    names, or None. has_encoder: whether there is an encoder, and not a language alone. Raises MissingArtifact if an
    earlier stage has not run, MismatchError if the language is of another sentence encoder.
    """
    encoder = encoder_store.load_encoder(encoder_store.folder(root)).to(device) if has_encoder else None
    language, sentences = _load_language(root, load_sentences)
    hybrid, digests = encoder is not None and caption_rule(encoder) is not None, encoder_digests(root)
    names = [name for name in EXACT_COLUMNS if name not in digests]
    rows = {row["sha256"]: row for row in dataset.rows(root, "adapters", (*names, "renderings"))}
    if encoder and encoder.config.variant.probe != "sketch":
        rows = {sha256: row for sha256, row in rows.items() if FULL_RANK not in row["warnings"]}
    renderings = {sha256: row.pop("renderings") for sha256, row in rows.items()}
    text_encoder = load_text_encoder() if hybrid else None
    return IndexSync(
        root=root,
        encoder=encoder,
        read=encoder_store.reader(root, encoder.config, bounds) if encoder else None,
        expected={sha256: row | digests for sha256, row in rows.items()},
        device=torch.device(device),
        captions=dataset.captions_by_image(root) if hybrid or language else {},
        renderings=renderings,
        evidence=evidence_reader(encoder, text_encoder, language, sentences),
        text_encoder=text_encoder,
        language=language,
        sentences=sentences,
    )


def _describe(encoder: Encoder) -> Row:
    """Return what meta.json states about an encoder."""
    rule = caption_rule(encoder)
    return {
        "text_encoder": encoder.config.text_encoder,
        "width": encoder.config.width,
        "agreement_margin": rule.margin if rule else None,
    }


def _load_language(
    root: Path, load_sentences: Callable[[], SentenceEncoder | None]
) -> tuple[Language | None, SentenceEncoder | None]:
    """Return the language that the encoder has learned with its sentence encoder; None if it has none, or is to be
    ignored.

    Raises MismatchError if the sentence encoder is another one.
    """
    language = Language.load(encoder_store.folder(root))
    sentences = load_sentences() if language else None
    if language is None or sentences is None:
        return None, None
    if sentences.digest != language.model:
        raise MismatchError(
            f"encoder.language in params.yaml names the sentence encoder {sentences.digest[:12]}, but the encoder was "
            f"trained with {language.model[:12]}: name that one, or train again (`dvc repro encoder`)"
        )
    return language, sentences


def _stored_rows(root: Path, index_columns: Columns) -> Mapping[str, Row]:
    if not has_table(folder(root), TABLE, index_columns):
        return {}
    names = ["sha256", "recipe", "encoder_weights", "captions_digest", "exact_hash", *SAID]
    return {row["sha256"]: row for row in read_table(folder(root), TABLE, names)}


def _row(expected: Row, computed: Row) -> Row:
    row = {**expected, **computed, "exact_hash": hash_exact(expected)}
    return row | {"row_hash": hash_vector_row(row)}
