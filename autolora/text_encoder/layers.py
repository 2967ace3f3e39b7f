"""The layers of CLIP's text model, on hidden states (N, T, d) of N texts with T tokens each."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from autolora.storage.arrays import Float32Array
from autolora.text_encoder.activations import ACTIVATIONS, Activation
from autolora.text_encoder.config import ClipConfig
from autolora.text_encoder.weights import Stored, Weights, to_float32


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
