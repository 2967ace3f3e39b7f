"""Layers that the text encoders have in common, in NumPy. Hidden states are (N, T, d): N texts with T tokens each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from autolora.storage.arrays import Float32Array
from autolora.text_encoder.weights import Stored, Weights, to_float32

Activation = Callable[[Float32Array], Float32Array]


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
class TransformerConfig:
    """The fields of config.json that each text encoder has."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    vocab_size: int
    layer_norm_eps: float
    hidden_act: str

    @classmethod
    def parse(cls, content: Any) -> Self:
        """Return the config in the content of config.json.

        Raises ValueError or TypeError if a field is missing, contradicts another one, or has no implementation.
        """
        config = cls(**typed_fields(cls, content))
        if config.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act is '{config.hidden_act}', expected one of the supported {', '.join(ACTIVATIONS)}"
            )
        if config.num_attention_heads < 1 or config.hidden_size % config.num_attention_heads:
            raise ValueError(
                f"hidden_size is {config.hidden_size}, expected a multiple of num_attention_heads, "
                f"{config.num_attention_heads}"
            )
        return config


def typed_fields(cls: Any, content: Any) -> dict[str, Any]:
    """Return the fields of a dataclass from a JSON value.

    Raises ValueError if one is missing, TypeError if its value is not of the type that the dataclass states.
    """
    return {field.name: _checked(content, field.name, field.type) for field in fields(cls)}


def _checked(content: Any, name: str, kind: Any) -> Any:
    if not isinstance(content, dict) or name not in content:
        raise ValueError(f"it has no field '{name}'")
    if type(content[name]) is not kind:
        raise TypeError(f"{name} is {content[name]!r}, expected {kind.__name__}")
    return content[name]


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
    def read(cls, weights: Weights, name: str, config: TransformerConfig) -> Self:
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
    """Self-attention. With a causal mask, a token sees the tokens before it and itself; else all tokens of its text."""

    query: Linear
    key: Linear
    value: Linear
    output: Linear
    heads: int
    causal: bool

    @classmethod
    def read(cls, weights: Weights, names: Sequence[str], config: TransformerConfig, *, causal: bool) -> Self:
        """Return the layer, given the names of its query, key, value and output. Raises as `Linear.read`."""
        size = config.hidden_size
        query, key, value, output = (Linear.read(weights, name, size, size) for name in names)
        return cls(query, key, value, output, config.num_attention_heads, causal)

    def __call__(self, x: Float32Array) -> Float32Array:
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.swapaxes(-1, -2) * np.float32(query.shape[-1] ** -0.5)
        if self.causal:
            scores += np.triu(np.full(scores.shape[-2:], -np.inf, np.float32), k=1)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        return self.output((weights @ value).swapaxes(1, 2).reshape(x.shape))

    def _split(self, x: Float32Array) -> Float32Array:
        """Return (N, heads, T, d / heads)."""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)
