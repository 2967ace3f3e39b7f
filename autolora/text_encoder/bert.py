"""The models of the BERT family in NumPy: the last hidden states of transformers' BertModel and its descendants."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from autolora.storage.arrays import Float32Array, Int64Array
from autolora.text_encoder.layers import (
    ACTIVATIONS,
    Activation,
    Attention,
    LayerNorm,
    Linear,
    TransformerConfig,
)
from autolora.text_encoder.weights import Stored, Weights, read_weights, to_float32

BERT = "bert"
PADDING: Mapping[str, int] = {BERT: 0, "roberta": 1, "xlm-roberta": 1, "camembert": 1}
"""value of `model_type` in a config -> id of the padding token, if the config has none"""


@dataclass(frozen=True, slots=True)
class BertConfig(TransformerConfig):
    """The fields of config.json that determine the hidden states."""

    model_type: str
    pad_token_id: int
    type_vocab_size: int

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Self:
        """Return the config in the content of config.json. Raises as `parse`."""
        kind = str(content.get("model_type"))
        if kind not in PADDING:
            raise ValueError(f"model_type is '{kind}', expected one of {', '.join(PADDING)}")
        position = content.get("position_embedding_type", "absolute")
        if position != "absolute":
            raise ValueError(f"position_embedding_type is '{position}', expected 'absolute'")
        if content.get("is_decoder"):
            raise ValueError("is_decoder is true, expected an encoder")
        return cls.parse({"pad_token_id": PADDING[kind], **content})

    @property
    def first_position(self) -> int:
        """The position of a text's first token: models after BERT count from behind the padding's."""
        return 0 if self.model_type == BERT else self.pad_token_id + 1

    @property
    def max_tokens(self) -> int:
        """The number of tokens that a text may have."""
        return self.max_position_embeddings - self.first_position


@dataclass(frozen=True, slots=True, eq=False)
class BertLayer:
    """One transformer layer: attention and a two-layer network, each added to what it reads, then normalized."""

    attention: Attention
    norm1: LayerNorm
    fc1: Linear
    fc2: Linear
    norm2: LayerNorm
    activation: Activation

    @classmethod
    def read(cls, weights: Weights, name: str, config: BertConfig) -> Self:
        """Return the layer of this name. Raises MissingArtifact without tensors of its shapes."""
        narrow, wide = config.hidden_size, config.intermediate_size
        parts = ("self.query", "self.key", "self.value", "output.dense")
        projections = [f"{name}.attention.{part}" for part in parts]
        return cls(
            attention=Attention.read(weights, projections, config, causal=False),
            norm1=LayerNorm.read(weights, f"{name}.attention.output.LayerNorm", config),
            fc1=Linear.read(weights, f"{name}.intermediate.dense", narrow, wide),
            fc2=Linear.read(weights, f"{name}.output.dense", wide, narrow),
            norm2=LayerNorm.read(weights, f"{name}.output.LayerNorm", config),
            activation=ACTIVATIONS[config.hidden_act],
        )

    def __call__(self, x: Float32Array) -> Float32Array:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.fc2(self.activation(self.fc1(x))))


@dataclass(frozen=True, slots=True, eq=False)
class Bert:
    """The network: from token ids (N, T), of which none is padding, to their last hidden states (N, T, d), float32."""

    path: Path
    """of the weights"""
    config: BertConfig
    tokens: Stored
    """(vocabulary, d) token embeddings"""
    positions: Float32Array
    """(max_position_embeddings, d)"""
    segment: Float32Array
    """(d,) embedding of the first of the segments that a pair of texts has"""
    norm: LayerNorm
    layers: tuple[BertLayer, ...]

    @classmethod
    def read(cls, path: Path, config: BertConfig) -> Self:
        """Return the network with the weights in a file. Raises MissingArtifact without tensors of its shapes."""
        prefix = "bert." if config.model_type == BERT else "roberta."
        weights, size = read_weights(path, prefix), config.hidden_size
        segments = weights.float32("embeddings.token_type_embeddings.weight", config.type_vocab_size, size)
        return cls(
            path=path,
            config=config,
            tokens=weights.stored("embeddings.word_embeddings.weight", config.vocab_size, size),
            positions=weights.float32(
                "embeddings.position_embeddings.weight", config.max_position_embeddings, size
            ),
            segment=segments[0],
            norm=LayerNorm.read(weights, "embeddings.LayerNorm", config),
            layers=tuple(
                BertLayer.read(weights, f"encoder.layer.{n}", config) for n in range(config.num_hidden_layers)
            ),
        )

    @property
    def width(self) -> int:
        """The width d of the states."""
        return self.config.hidden_size

    def __call__(self, ids: Int64Array) -> Float32Array:
        embeddings = to_float32(self.tokens[ids]) + self.segment + self.positions[self._positions(ids)]
        states = self.norm(embeddings)
        for layer in self.layers:
            states = layer(states)
        return states

    def _positions(self, ids: Int64Array) -> Int64Array:
        """Return the positions (N, T); models after BERT do not count padding tokens, which a text may name."""
        if self.config.model_type == BERT:
            return np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        counted = (ids != self.config.pad_token_id).astype(np.int64)
        positions: Int64Array = np.cumsum(counted, axis=1) * counted + self.config.pad_token_id
        return positions
