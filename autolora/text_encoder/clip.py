"""CLIP's text model in NumPy: the pooled features of transformers' CLIPTextModel, without importing torch.

The weights are mapped from their safetensors file. Hidden states are (N, T, d): N texts with T tokens each. The mask is
causal, so no token after the one whose state is the feature has an effect: padding is not computed. The token ids are
those of transformers' CLIPTokenizer.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from autolora.errors import MismatchError, MissingArtifact, RefusedFile
from autolora.lora.header import LENGTH_BYTES, Header, header_length, parse_header
from autolora.models import component
from autolora.params import ModelsParams
from autolora.storage.arrays import Float32Array, Int64Array
from autolora.storage.files import write_atomic
from autolora.storage.hash_cache import cached_hashes
from autolora.storage.hashes import hash_folder, hash_value
from autolora.text_encoder.tokenizer import convert_tokenizer

TEXTS_PER_BATCH = 128
NONE_SAVED: Mapping[str, Path] = MappingProxyType({})
LEGACY_EOS = 2
"""eos_token_id in configs from before transformers 4.31: the end is the token with the highest id"""

WEIGHTS = "model.safetensors"
MAX_HEADER_BYTES = 25_000_000
Stored = NDArray[Any]
"""values in the dtype of the file, see `to_float32`"""
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
"""dtype of a tensor -> that of its mapped values; bfloat16 is unknown to NumPy, so its bits are read as integers"""
PREFIX = "text_model."
"""earlier versions of transformers begin each name with it"""

END_OF_WORD = "</w>"
MAX_REPORTED = 1000
"""texts about which it is remembered that their end was cut off"""

Activation = Callable[[Float32Array], Float32Array]

logger = logging.getLogger(__name__)


def quick_gelu(x: Float32Array) -> Float32Array:
    """Return x / (1 + exp(-1.702 x))."""
    with np.errstate(over="ignore"):  # an infinite exp gives the correct 0
        result: Float32Array = x / (1 + np.exp(np.float32(-1.702) * x))
    return result


def gelu(x: Float32Array) -> Float32Array:
    """Return x · Φ(x), the distribution function Φ by Abramowitz and Stegun (1964), 7.1.26: erf to 1.5e-7."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    polynomial: Float32Array = np.zeros_like(x)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        polynomial = ((polynomial + coefficient) * t).astype(np.float32, copy=False)
    tail = polynomial * np.exp(-z * z) / 2  # Φ(-|x|)
    result: Float32Array = x * np.where(x < 0, tail, 1 - tail)
    return result


ACTIVATIONS: Mapping[str, Activation] = {"quick_gelu": quick_gelu, "gelu": gelu}
"""value of `hidden_act` in a config -> function"""


@dataclass(frozen=True, slots=True)
class ClipConfig:
    """The fields of config.json that determine the features."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    vocab_size: int
    eos_token_id: int
    layer_norm_eps: float
    hidden_act: str

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the config in a folder. Raises MissingArtifact if it is missing, damaged or unsupported."""
        path = folder / "config.json"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            config = cls(
                **{name: _checked(content, name, kind) for name, kind in cls.__annotations__.items()}
            )
            config._check()
        except (OSError, TypeError, ValueError) as error:
            raise MissingArtifact(
                f"cannot load {path}: {error}; build or download the text encoder again, or set another "
                "models.pipeline in params.yaml"
            ) from error
        return config

    def _check(self) -> None:
        """Raise ValueError if the fields contradict each other or have no implementation."""
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act is '{self.hidden_act}', expected one of the supported {', '.join(ACTIVATIONS)}"
            )
        if self.num_attention_heads < 1 or self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size is {self.hidden_size}, expected a multiple of num_attention_heads, "
                f"{self.num_attention_heads}"
            )


def _checked(content: Any, name: str, kind: type) -> Any:
    """Return a field. Raises ValueError if it is missing, TypeError if its value is not of this type."""
    if not isinstance(content, dict) or name not in content:
        raise ValueError(f"it has no field '{name}'")
    if type(content[name]) is not kind:
        raise TypeError(f"{name} is {content[name]!r}, expected {kind.__name__}")
    return content[name]


@dataclass(frozen=True, slots=True)
class Weights:
    """The tensors of one file, as they are stored."""

    path: Path
    tensors: dict[str, Stored]

    def stored(self, name: str, *shape: int) -> Stored:
        """Return a tensor as it is stored, for `to_float32`. Raises MissingArtifact without a tensor of this shape."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.shape != shape:
            actual = "is missing" if tensor is None else f"has the shape {tensor.shape}"
            raise MissingArtifact(
                f"{self.path}: the tensor '{name}' {actual}, but config.json requires the shape {shape}; "
                "build or download the text encoder again"
            )
        return tensor

    def float32(self, name: str, *shape: int) -> Float32Array:
        """Return a tensor in float32, which is mapped if it is stored so. Raises as `stored`."""
        return to_float32(self.stored(name, *shape))


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """x · weightᵀ + bias.

    The weight stays in the mapped file. Converting it in each call costs little, as the product waits for the memory.
    """

    weight: Stored
    """(d_out, d_in)"""
    bias: Float32Array

    @classmethod
    def read(cls, weights: Weights, name: str, d_in: int, d_out: int) -> Self:
        """Return the layer of this name. Raises MissingArtifact without tensors of its shapes."""
        return cls(weights.stored(f"{name}.weight", d_out, d_in), weights.float32(f"{name}.bias", d_out))

    def __call__(self, x: Float32Array) -> Float32Array:
        rows = x.reshape(-1, x.shape[-1])  # one product instead of one per text
        result: Float32Array = rows @ to_float32(self.weight).T + self.bias
        return result.reshape(*x.shape[:-1], -1)


@dataclass(frozen=True, slots=True, eq=False)
class LayerNorm:
    """(x - mean) / √(variance + eps) · weight + bias, over the last axis."""

    weight: Float32Array
    bias: Float32Array
    eps: float

    @classmethod
    def read(cls, weights: Weights, name: str, config: ClipConfig) -> Self:
        """Return the layer of this name. Raises MissingArtifact without tensors of its shapes."""
        weight, bias = (weights.float32(f"{name}.{part}", config.hidden_size) for part in ("weight", "bias"))
        return cls(weight, bias, config.layer_norm_eps)

    def __call__(self, x: Float32Array) -> Float32Array:
        centered = x - x.mean(axis=-1, keepdims=True)
        variance = np.square(centered).mean(axis=-1, keepdims=True)
        result: Float32Array = centered / np.sqrt(variance + self.eps) * self.weight + self.bias
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """Self-attention with a causal mask: a token sees the tokens before it and itself."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    heads: int

    @classmethod
    def read(cls, weights: Weights, name: str, config: ClipConfig) -> Self:
        """Return the layer of this name. Raises MissingArtifact without tensors of its shapes."""
        size, parts = config.hidden_size, ("q", "k", "v", "out")
        query, key, value, output = (
            Linear.read(weights, f"{name}.{part}_proj", size, size) for part in parts
        )
        return cls(query, key, value, output, config.num_attention_heads)

    def __call__(self, x: Float32Array) -> Float32Array:
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.swapaxes(-1, -2) * np.float32(query.shape[-1] ** -0.5)
        scores += np.triu(np.full(scores.shape[-2:], -np.inf, np.float32), k=1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return self.output((weights @ value).swapaxes(1, 2).reshape(x.shape))

    def _split(self, x: Float32Array) -> Float32Array:
        """Return (N, heads, T, d / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)


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
        return cls(
            norm1=LayerNorm.read(weights, f"{name}.layer_norm1", config),
            attention=Attention.read(weights, f"{name}.self_attn", config),
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

    def words(self) -> list[str]:
        """Return the words of the vocabulary, in which frequent ones come first."""
        ids = self._tokenizer.get_vocab(with_added_tokens=False)
        tokens = sorted(ids, key=lambda token: ids[token])
        return [token.removesuffix(END_OF_WORD) for token in tokens if token.endswith(END_OF_WORD)]

    def encode(self, texts: Sequence[str]) -> Int64Array:
        """Return the token ids (N, tokens); log a warning, once per text, that names what is cut off its end."""
        encodings = self._tokenizer.encode_batch(list(texts))
        for text, encoding in zip(texts, encodings, strict=True):
            if encoding.overflowing:
                _report_cut(text, _first_offset(encoding.overflowing[0]), len(encoding.ids))
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64)


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
    config, weights = ClipConfig.read(folder), read_weights(folder)
    with cached_hashes(cache / "text_encoder_hashes.json") as hash_file:
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


def read_weights(folder: Path) -> Weights:
    """Map the weights in a folder.

    The file may be replaced while it is mapped, but not written in place. Raises MissingArtifact if it is missing,
    damaged or has tensors of another dtype.
    """
    path = folder / WEIGHTS
    try:
        header = _read_header(path)
        data = np.memmap(path, dtype=np.uint8, mode="r")
        tensors = {name.removeprefix(PREFIX): _view(data, header, name) for name in header.tensors}
    except (OSError, ValueError, RefusedFile) as error:
        raise MissingArtifact(
            f"cannot load {path}: {error}; build or download the text encoder again"
        ) from error
    return Weights(path, tensors)


def to_float32(stored: Stored) -> Float32Array:
    """Return stored values in float32: the bits of a bfloat16 are the upper half of those of a float32."""
    if stored.dtype != DTYPES["BF16"]:
        return stored.astype(np.float32, copy=False)
    bits = stored.astype("<u4")
    bits <<= 16
    return bits.view(np.float32)


def _read_header(path: Path) -> Header:
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = header_length(stream.read(2 * LENGTH_BYTES), size, MAX_HEADER_BYTES)
        stream.seek(LENGTH_BYTES)
        return parse_header(stream.read(length), size - LENGTH_BYTES - length)


def _view(data: NDArray[np.uint8], header: Header, name: str) -> Stored:
    """Return the values of a tensor in the mapped file. Raises ValueError if its dtype is unsupported."""
    entry = header.tensors[name]
    if entry.dtype not in DTYPES:
        raise ValueError(
            f"the tensor '{name}' has the dtype {entry.dtype}, expected one of {', '.join(DTYPES)}"
        )
    values = data[header.start + entry.begin : header.start + entry.end]
    return np.asarray(values).view(DTYPES[entry.dtype]).reshape(entry.shape)


def _first_offset(encoding: Encoding) -> int:
    """Return where in its text the first token of an encoding begins; special tokens do not count."""
    return int(next(start for start, end in encoding.offsets if end > start))


@lru_cache(MAX_REPORTED)
def _report_cut(text: str, start: int, limit: int) -> None:
    """Log that a text is cut; the same text is compared several times in one search."""
    word = text.rfind(" ", 0, start + 1) + 1
    logger.warning(
        "the text is longer than the %d tokens that CLIP reads; ignored is its end: '%s'", limit, text[word:]
    )
