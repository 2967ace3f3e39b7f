"""The activation functions of CLIP's text models."""

from collections.abc import Callable, Mapping

import numpy as np

from autolora.storage.arrays import Float32Array

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
