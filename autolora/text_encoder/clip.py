"""CLIP's text model: the pooled features of transformers' CLIPTextModel, without importing torch.

The mask is causal, so no token after the one whose state is the feature has an effect: padding is not computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from autolora.errors import MismatchError
from autolora.models import component
from autolora.params import ModelsParams
from autolora.storage.arrays import Float32Array, Int64Array
from autolora.storage.files import write_atomic
from autolora.storage.hash_cache import cached_hashes
from autolora.storage.hashes import hash_folder, hash_value
from autolora.text_encoder.config import ClipConfig
from autolora.text_encoder.layers import Layer, LayerNorm
from autolora.text_encoder.tokenizer import ClipTokenizer, convert_tokenizer
from autolora.text_encoder.weights import Stored, read_weights, to_float32

TEXTS_PER_BATCH = 128
NONE_SAVED: Mapping[str, Path] = MappingProxyType({})
LEGACY_EOS = 2
"""eos_token_id in configs from before transformers 4.31: the end is the token with the highest id"""


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
