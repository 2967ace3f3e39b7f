"""CLIP's text model in NumPy: the pooled features of transformers' CLIPTextModel, without importing torch.

The weights are mapped from their safetensors file. Hidden states are (N, T, d): N texts with T tokens each. The mask is
causal, so no token after the one whose state is the feature has an effect: padding is not computed. The token ids are
those of transformers' CLIPTokenizer.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np
from tokenizers import Encoding, Tokenizer

from autolora.errors import MismatchError, MissingArtifact
from autolora.models import component
from autolora.params import ModelsParams
from autolora.storage.arrays import Float32Array, Int64Array
from autolora.storage.files import write_atomic
from autolora.storage.hash_cache import cached_hashes
from autolora.storage.hashes import hash_folder, hash_value
from autolora.text_encoder.layers import (
    ACTIVATIONS,
    Activation,
    Attention,
    LayerNorm,
    Linear,
    TransformerConfig,
)
from autolora.text_encoder.tokenizer import convert_tokenizer
from autolora.text_encoder.weights import HASHES, WEIGHTS, Stored, Weights, read_weights, to_float32
from autolora.wording import describe_unread

TEXTS_PER_BATCH = 128
NONE_SAVED: Mapping[str, Path] = MappingProxyType({})
LEGACY_EOS = 2
"""eos_token_id in configs from before transformers 4.31: the end is the token with the highest id"""

PREFIX = "text_model."
"""earlier versions of transformers begin each name with it"""

MAX_REPORTED = 1000
"""texts about which it is remembered that their end was cut off"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClipConfig(TransformerConfig):
    """The fields of config.json that determine the features."""

    eos_token_id: int

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the config in a folder. Raises MissingArtifact if it is missing, damaged or unsupported."""
        path = folder / "config.json"
        try:
            return cls.parse(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise MissingArtifact(
                f"cannot load {path}: {error}; build or download the text encoder again, or set another "
                "models.pipeline in params.yaml"
            ) from error


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One transformer layer: attention and a two-layer network, each added to what it reads."""

    norm1: LayerNorm
    attention: Attention
    norm2: LayerNorm
    fc1: Linear
    fc2: Linear
    activation: Activation

    @classmethod
    def read(cls, weights: Weights, name: str, config: ClipConfig) -> Self:
        """Return the layer of this name. Raises MissingArtifact without tensors of its shapes."""
        narrow, wide = config.hidden_size, config.intermediate_size
        projections = [f"{name}.self_attn.{part}_proj" for part in ("q", "k", "v", "out")]
        return cls(
            norm1=LayerNorm.read(weights, f"{name}.layer_norm1", config),
            attention=Attention.read(weights, projections, config, causal=True),
            norm2=LayerNorm.read(weights, f"{name}.layer_norm2", config),
            fc1=Linear.read(weights, f"{name}.mlp.fc1", narrow, wide),
            fc2=Linear.read(weights, f"{name}.mlp.fc2", wide, narrow),
            activation=ACTIVATIONS[config.hidden_act],
        )

    def __call__(self, x: Float32Array) -> Float32Array:
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.activation(self.fc1(self.norm2(x))))


class ClipTokenizer:
    """From texts to token ids: begin, words, end and padding, the same number for each text."""

    def __init__(self, path: Path) -> None:
        """Read what `convert_tokenizer` has returned from a file. Raises MissingArtifact if it is damaged."""
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the only class that `tokenizers` raises for damaged files
            raise MissingArtifact(
                f"cannot load the CLIP tokenizer {path}: {error}; delete it in cache/, or write it again "
                "with `dvc repro index` or `autolora index`"
            ) from error

    @property
    def size(self) -> int:
        """The number of different token ids."""
        return int(self._tokenizer.get_vocab_size())

    def to_json(self) -> str:
        """Return the content of the file."""
        return str(self._tokenizer.to_str())

    def encode(self, texts: Sequence[str]) -> Int64Array:
        """Return the token ids (N, tokens); log a warning, once per text, about the end that is cut off."""
        encodings = self._tokenizer.encode_batch(list(texts))
        for text, encoding in zip(texts, encodings, strict=True):
            if unread := _describe_cut(text, encoding):
                _report_cut(text, unread)
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)

    def describe_unread(self, text: str) -> str:
        """Return that the end of a text is cut off, in a sentence; empty if all of it is read."""
        return _describe_cut(text, self._tokenizer.encode(text))


@dataclass(frozen=True, slots=True, eq=False)
class NumpyTextEncoder:
    """The frozen CLIP text encoder of the base pipeline, with its tokenizer; see autolora.models for that in torch."""

    digest: str
    """sha256 over the files of the text encoder and its tokenizer"""
    config: ClipConfig
    tokenizer: ClipTokenizer
    tokens: Stored
    """(vocabulary, d) token embeddings"""
    positions: Float32Array
    """(tokens, d)"""
    layers: tuple[Layer, ...]
    norm: LayerNorm

    @property
    def width(self) -> int:
        """Return the width d of the features."""
        return self.config.hidden_size

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the pooled features (N, d), float32, not normalized; long texts are truncated."""
        features = np.zeros((len(texts), self.width), dtype=np.float32)
        for start in range(0, len(texts), TEXTS_PER_BATCH):
            ids = self.tokenizer.encode(texts[start : start + TEXTS_PER_BATCH])
            features[start : start + len(ids)] = self._encode(ids)
        return features

    def _encode(self, ids: Int64Array) -> Float32Array:
        ends = self._ends(ids)
        ids = ids[:, : ends.max() + 1]
        states = to_float32(self.tokens[ids]) + self.positions[: ids.shape[1]]
        for layer in self.layers:
            states = layer(states)
        return self.norm(states[np.arange(len(ids)), ends])

    def _ends(self, ids: Int64Array) -> Int64Array:
        """Return the position (N,) of the token whose state is the feature."""
        eos = self.config.eos_token_id
        ends: Int64Array = np.argmax(ids if eos == LEGACY_EOS else ids == eos, axis=1)
        return ends


def load_numpy_text_encoder(
    root: Path, params: ModelsParams, tokenizers: Mapping[str, Path] = NONE_SAVED
) -> NumpyTextEncoder:
    """Return the CLIP text encoder of the base pipeline.

    root: the root of the repository, which a relative `params.pipeline` refers to; its cache/ keeps the hashes of the
    files. tokenizers: as of `read_text_encoder`. Raises MissingArtifact if the encoder is missing, damaged or
    unsupported, MismatchError if its tokenizer has other tokens.
    """
    if (root / params.pipeline).is_dir():
        params = replace(params, pipeline=str(root / params.pipeline))
    folders = (component(params, "text_encoder"), component(params, "tokenizer"))
    return read_text_encoder(*folders, root / "cache", tokenizers)


def read_text_encoder(
    folder: Path, tokenizer: Path, cache: Path, tokenizers: Mapping[str, Path] = NONE_SAVED
) -> NumpyTextEncoder:
    """Return the CLIP text encoder in a folder, with the tokenizer in another.

    cache: folder for the hashes of their files. tokenizers: digest of a text encoder -> its tokenizer.json, which the
    stage `index` has saved. If this one has none, transformers writes it to `cache`. Raises as
    `load_numpy_text_encoder`.
    """
    config, weights = ClipConfig.read(folder), read_weights(folder / WEIGHTS, PREFIX)
    with cached_hashes(cache / HASHES, keep_others=True) as hash_file:
        digest = hash_value([hash_folder(part, hash_file) for part in (folder, tokenizer)])
    converted = cache / f"tokenizer-{digest}.json"
    path = tokenizers.get(digest, converted)
    if path == converted and not path.exists():
        write_atomic(path, convert_tokenizer(tokenizer, config.max_position_embeddings))
    return NumpyTextEncoder(
        digest=digest,
        config=config,
        tokenizer=_read_tokenizer(path, config),
        tokens=weights.stored("embeddings.token_embedding.weight", config.vocab_size, config.hidden_size),
        positions=weights.float32(
            "embeddings.position_embedding.weight", config.max_position_embeddings, config.hidden_size
        ),
        layers=tuple(
            Layer.read(weights, f"encoder.layers.{n}", config) for n in range(config.num_hidden_layers)
        ),
        norm=LayerNorm.read(weights, "final_layer_norm", config),
    )


def _read_tokenizer(path: Path, config: ClipConfig) -> ClipTokenizer:
    tokenizer = ClipTokenizer(path)
    if tokenizer.size > config.vocab_size:
        raise MismatchError(
            f"the tokenizer {path} has {tokenizer.size} tokens, but its text encoder has embeddings of "
            f"{config.vocab_size}: build or download both again"
        )
    return tokenizer


def _first_offset(encoding: Encoding) -> int:
    """Return where in its text the first token of an encoding begins; special tokens do not count."""
    return int(next(start for start, end in encoding.offsets if end > start))


def _describe_cut(text: str, encoding: Encoding) -> str:
    if not encoding.overflowing:
        return ""
    return describe_unread("CLIP", len(encoding.ids), text, _first_offset(encoding.overflowing[0]))


@lru_cache(MAX_REPORTED)
def _report_cut(text: str, unread: str) -> None:
    """Log that a text is cut; the same text is compared several times in one search."""
    logger.warning("%s", unread)
