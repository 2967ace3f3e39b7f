"""Sketches: M = S·ΔW·Q a slot, with fixed random S and Q; ⟨sketch(a), sketch(b)⟩ estimates ⟨ΔW_a, ΔW_b⟩.

A sketch depends on the update alone: not on how it is factored, on rank, or on file format. Computed as
(S·up)(down·Q)·scale, so ΔW is never formed.

Definition of S (m, d_out) and Q (d_in, p), m = p = size. Both hold the signs of one stream of bits a matrix,
divided by √size. Matrix of n coordinates, named `S|<canonical slot>` or `Q|<fused slot>`:

1. seed = the first 8 bytes, little-endian, of sha256 of "autolora-sketch-1|<name>|<n>x<size>" in UTF-8
2. word i = 0, 1, … is SplitMix64: z = seed + (i + 1)·0x9E3779B97F4A7C15; z = (z ^ z>>30)·0xBF58476D1CE4E5B9;
   z = (z ^ z>>27)·0x94D049BB133111EB; z ^ z>>31, all modulo 2^64
3. the sign at (coordinate c, sketch row s) is bit b = c·size + s of the stream, which is bit b mod 64 (from
   the least significant) of word b div 64; a 0 is +1 and a 1 is -1

Signs are independent with E[SᵀS] = I and E[QQᵀ] = I, so inner products are unbiased. All bits of FLUX.1-dev
at size 32 are 19 MB; they are kept as bits and become floats for one slot at a time. Q has the fused slot's
name: the sketch of a fused slot (its S: its parts' S side by side) is the sum of its parts' sketches.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autolora.errors import MismatchError
from autolora.lora.factors import Factors, energy
from autolora.slots import Slot

DEFINITION = "autolora-sketch-1"
CACHED = 1024
"""matrices of bits kept: FLUX.1-dev has 798 (494 S, 304 Q)"""


@dataclass(frozen=True, slots=True)
class SketchSpec:
    """What a sketch is: its definition and its size."""

    size: int
    """m = p: rows and columns of one slot's sketch"""

    @property
    def key(self) -> str:
        """The name of this spec: sketches of different keys must not be compared."""
        return f"{DEFINITION}/{self.size}"


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """The sketches of all slots of a base model, in slot order."""

    values: Tensor
    """(S, m, p) float32; zero where absent"""
    present: Tensor
    """(S,) bool"""


def sketch(lora: Mapping[str, Factors], slots: Sequence[Slot], spec: SketchSpec) -> Sketch:
    """Sketch a LoRA: values (S, m, p) float32 and present (S,), S = len(slots).

    Raises MismatchError when the LoRA has a slot that is not in `slots`.
    """
    if foreign := set(lora) - {slot.name for slot in slots}:
        raise MismatchError(f"the LoRA has slots of another base model, e.g. {min(foreign)}")
    values = torch.zeros(len(slots), spec.size, spec.size)
    present = torch.zeros(len(slots), dtype=torch.bool)
    for index, slot in enumerate(slots):
        if slot.name in lora:
            values[index] = sketch_slot(lora[slot.name], slot, spec)
            present[index] = True
    return Sketch(values, present)


def sketch_slot(factors: Factors, slot: Slot, spec: SketchSpec) -> Tensor:
    """Return M = S·ΔW·Q (m, p) of one slot, float32."""
    left = (factors.up.float().T @ signs(f"S|{slot.name}", slot.d_out, spec.size)).T
    right = factors.down.float() @ signs(f"Q|{slot.fused}", slot.d_in, spec.size)
    return (left @ right) * (factors.scale / spec.size)


def signs(name: str, coordinates: int, size: int) -> Tensor:
    """Return the signs of a named matrix (coordinates, size): ±1 in float32, not yet divided by √size."""
    # one look-up a byte: three times as fast as unpacking its bits
    drawn = _signs_of_bytes().take(_bits(name, coordinates, size), axis=0).ravel()
    return torch.from_numpy(drawn[: coordinates * size]).view(coordinates, size)


def dot(a: Sketch, b: Sketch) -> float:
    """Return the estimate of ⟨ΔW_a, ΔW_b⟩ over all slots, in float64.

    Raises MismatchError when the two were made for other slots or by another spec.
    """
    if a.values.shape != b.values.shape:
        raise MismatchError(f"sketches of shapes {tuple(a.values.shape)} and {tuple(b.values.shape)}")
    return float((a.values.double() * b.values.double()).sum())


def cosine(a: Sketch, b: Sketch) -> float:
    """Return the estimated cosine of two updates, in [-1, 1]; 0 where one of them is zero."""
    norms = math.sqrt(dot(a, a)) * math.sqrt(dot(b, b))
    return max(-1.0, min(1.0, dot(a, b) / norms)) if norms else 0.0


def norm(lora: Mapping[str, Factors]) -> float:
    """Return ‖ΔW‖ over all slots: exact, from the factors."""
    return math.sqrt(sum(energy(factors) for factors in lora.values()))


@lru_cache(maxsize=1)
def _signs_of_bytes() -> npt.NDArray[np.float32]:
    """Return the eight signs (256, 8) that each value of a byte of bits stands for."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits, np.float32(-1), np.float32(1))


@lru_cache(maxsize=CACHED)
def _bits(name: str, coordinates: int, size: int) -> npt.NDArray[np.uint8]:
    """Return a named stream's first coordinates · size bits, packed in bytes, least significant first."""
    text = f"{DEFINITION}|{name}|{coordinates}x{size}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    words = split_mix(seed, math.ceil(coordinates * size / 64))
    return words.astype("<u8").view(np.uint8)


def split_mix(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """Return the first `count` outputs of SplitMix64 (Steele, Lea, Flood 2014), by counter."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
