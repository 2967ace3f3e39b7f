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
AT_ONCE = 3072
"""coordinates that are sketched at a time: with 64 ranks and their signs 1.2 MB, about what a core has for itself"""
HALVED = 48
"""ranks from which on it pays to compute a symmetric matrix without its lower left quarter"""
Bits = npt.NDArray[np.uint8]
"""signs, packed in bytes"""


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


class Scratch:
    """Memory for the signs of AT_ONCE coordinates, used again: a new one each time costs more than filling it."""

    def __init__(self, size: int) -> None:
        self._of_bytes = np.empty((AT_ONCE * size // 8, 8), dtype=np.float32)
        self._signs = torch.from_numpy(self._of_bytes).view(AT_ONCE, size)
        self._size = size

    def draw(self, bits: Bits, begin: int, end: int) -> Tensor:
        """Return a matrix's signs (end - begin, size), from a multiple of 8 on, until the next are drawn."""
        chosen = bits[begin * self._size // 8 : math.ceil(end * self._size / 8)]
        _look_up(chosen, self._of_bytes[: len(chosen)])
        return self._signs[: end - begin]


def sketch(lora: Mapping[str, Factors], slots: Sequence[Slot], spec: SketchSpec) -> Sketch:
    """Sketch a LoRA: values (S, m, p) float32 and present (S,), S = len(slots).

    Raises MismatchError when the LoRA has a slot that is not in `slots`.
    """
    return _pass(lora, slots, spec, measured=False)[0]


def sketch_and_norm(
    lora: Mapping[str, Factors], slots: Sequence[Slot], spec: SketchSpec
) -> tuple[Sketch, float]:
    """Return what `sketch` and `norm` do, in one pass that looks at every weight once.

    Raises MismatchError when the LoRA has a slot that is not in `slots`.
    """
    made, total = _pass(lora, slots, spec, measured=True)
    return made, math.sqrt(total)


def _pass(
    lora: Mapping[str, Factors], slots: Sequence[Slot], spec: SketchSpec, *, measured: bool
) -> tuple[Sketch, float]:
    """Return a LoRA's sketch and ‖ΔW‖²; 0 for the latter where it is not to be measured."""
    if foreign := set(lora) - {slot.name for slot in slots}:
        raise MismatchError(f"the LoRA has slots of another base model, e.g. {min(foreign)}")
    values = torch.zeros(len(slots), spec.size, spec.size)
    present = torch.zeros(len(slots), dtype=torch.bool)
    total, scratch = 0.0, Scratch(spec.size)
    for index, slot in enumerate(slots):
        if slot.name not in lora:
            continue
        factors = lora[slot.name]
        bits = _bits(f"S|{slot.name}", slot.d_out, spec.size), _bits(f"Q|{slot.fused}", slot.d_in, spec.size)
        left, up = _project(factors.up.T, bits[0], spec.size, scratch, measured)
        right, down = _project(factors.down, bits[1], spec.size, scratch, measured)
        values[index] = (left.T @ right) * (factors.scale / spec.size)
        present[index] = True
        if measured:
            total += energy(factors, (up.double(), down.double()))
    return Sketch(values, present), total


def _project(rows: Tensor, bits: Bits, size: int, scratch: Scratch, measured: bool) -> tuple[Tensor, Tensor]:
    """Return rows (r, n) times a matrix of signs (n, size), and rows · rowsᵀ (r, r) (else zeros), both float32.

    As much is taken to single precision at a time as stays in a processor's cache meanwhile.
    """
    rank, length = rows.shape
    projected, squared = torch.zeros(rank, size), torch.zeros(rank, rank)
    for begin in range(0, length, AT_ONCE):
        end = min(begin + AT_ONCE, length)
        part = rows[:, begin:end].float()
        projected.addmm_(part, scratch.draw(bits, begin, end))
        if measured:
            _add_square(squared, part)
    if measured and rank >= HALVED:
        half = rank // 2
        squared[half:, :half] = squared[:half, half:].T
    return projected, squared


def _add_square(total: Tensor, rows: Tensor) -> None:
    """Add rows · rowsᵀ to `total` (r, r); from HALVED ranks on without its lower left quarter."""
    if len(rows) < HALVED:
        total.addmm_(rows, rows.T)
        return
    half = len(rows) // 2
    total[:half].addmm_(rows[:half], rows.T)
    total[half:, half:].addmm_(rows[half:], rows[half:].T)


def signs(name: str, coordinates: int, size: int) -> Tensor:
    """Return the signs of a named matrix (coordinates, size): ±1 in float32, not yet divided by √size."""
    bits = _bits(name, coordinates, size)
    drawn = np.empty((len(bits), 8), dtype=np.float32)
    _look_up(bits, drawn)
    return torch.from_numpy(drawn.ravel()[: coordinates * size]).view(coordinates, size)


def _look_up(bits: Bits, drawn: npt.NDArray[np.float32]) -> None:
    """Write the signs (n, 8) that bytes (n,) stand for: one look-up a byte, three times as fast as unpacking bits."""
    _signs_of_bytes().take(bits, axis=0, out=drawn, mode="clip")


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
def _bits(name: str, coordinates: int, size: int) -> Bits:
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
