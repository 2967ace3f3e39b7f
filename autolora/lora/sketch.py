"""Sketches: M = S·ΔW·Q per slot, with fixed random S and Q; ⟨sketch(a), sketch(b)⟩ estimates ⟨ΔW_a, ΔW_b⟩.

A sketch depends only on the update, not on its factorization, rank or file format. It is computed as
(S·up)(down·Q)·scale, so ΔW is never formed.

Definition of S (m, d_out) and Q (d_in, p), m = p = size: each matrix consists of signs from its own stream of bits,
divided by √size. For a matrix with n coordinates (d_out or d_in), named `S|<canonical slot>` or `Q|<fused slot>`:

1. seed = the first 8 bytes, little-endian, of sha256 of "autolora-sketch-1|<name>|<n>x<size>" in UTF-8
2. word i = 0, 1, … is SplitMix64: z = seed + (i + 1)·0x9E3779B97F4A7C15; z = (z ^ z>>30)·0xBF58476D1CE4E5B9;
   z = (z ^ z>>27)·0x94D049BB133111EB; z ^ z>>31, all modulo 2^64
3. the sign at (coordinate c, sketch row s) is bit b = c·size + s of the stream, which is bit b mod 64 (from
   the least significant) of word b div 64; a 0 is +1 and a 1 is -1

The signs are independent with E[SᵀS] = I and E[QQᵀ] = I, so inner products are unbiased. All bits of FLUX.1-dev at
size 32 take 19 MB; they are stored as bits and expanded to floats for a few slots at a time. Q is named after the
fused slot, so the sketch of a fused slot (with its parts' S side by side) is the sum of its parts' sketches.
"""

import hashlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autolora.errors import MismatchError
from autolora.lora.factors import Factors, Kronecker
from autolora.lora.fingerprint import split_mix
from autolora.lora.scales import MAX_MAGNITUDE
from autolora.lora.slots import Slot
from autolora.lora.verdict import refusal

DEFINITION = "autolora-sketch-1"
MAX_CACHED_MATRICES = 1024
"""number of cached bit matrices: FLUX.1-dev has 798 (494 S, 304 Q)"""
CHUNK = 3072
"""coordinates per product; sums in single precision depend on it"""
BATCH_FLOATS = 1 << 21
"""floats of the rows and signs of a batch, 8 MB: few enough for a processor's cache, and so many that threads which
sketch different LoRAs rarely wait for Python's lock"""
_OF_THREAD = threading.local()
Bits = npt.NDArray[np.uint8]
"""signs, packed in bytes"""


@dataclass(frozen=True, slots=True)
class SketchSpec:
    """Definition and size of a sketch."""

    size: int
    """m = p: rows and columns of one slot's sketch"""

    @property
    def key(self) -> str:
        """Return the name of this spec; sketches with different keys must not be compared."""
        return f"{DEFINITION}/{self.size}"


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """The sketches of all slots of a base model, in slot order."""

    values: Tensor
    """(S, m, p) float32; zero for absent slots"""
    present: Tensor
    """(S,) bool: whether the LoRA updates the slot"""

    @property
    def norm(self) -> float:
        """The estimate of ‖ΔW‖ over all slots; its square is unbiased (errors: docs/sketch.md)."""
        return math.sqrt(inner_product(self, self))


class Buffers:
    """Reused memory for the rows and signs of a batch: allocating it would take longer than filling it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows = torch.empty(0)
        self._signs = np.empty((0, 8), dtype=np.float32)

    def project(self, matrices: Sequence[Tensor], dim: int, bits: Sequence[Bits]) -> Tensor:
        """Return the products (len, r, size) of matrices of one shape with their signs (n, size), in float32.

        dim: of the n coordinates, which is 0 for matrices (n, r) and 1 for (r, n).
        """
        rows = self._convert(matrices).movedim(1 + dim, 2)
        signs = self._expand(bits, rows.shape[2])
        products = torch.zeros(*rows.shape[:2], self._size)
        for begin in range(0, rows.shape[2], CHUNK):
            products.baddbmm_(rows[:, :, begin : begin + CHUNK], signs[:, begin : begin + CHUNK])
        return products

    def _convert(self, matrices: Sequence[Tensor]) -> Tensor:
        """Return matrices of one shape (len, …) in single precision, valid until the next call."""
        shape = torch.Size((len(matrices), *matrices[0].shape))
        if self._rows.numel() < shape.numel():
            self._rows = torch.empty(shape.numel())
        return torch.stack(list(matrices), out=self._rows[: shape.numel()].view(shape))

    def _expand(self, bits: Sequence[Bits], coordinates: int) -> Tensor:
        """Return the signs (len, coordinates, size) of bits of one length, valid until the next call."""
        joined = np.concatenate(bits)
        if len(self._signs) < len(joined):
            self._signs = np.empty((len(joined), 8), dtype=np.float32)
        signs = self._signs[: len(joined)]
        _expand_bits(joined, signs)
        padded = torch.from_numpy(signs).view(len(bits), -1)
        return padded[:, : coordinates * self._size].view(len(bits), coordinates, self._size)


def sketch(lora: Mapping[str, Factors | Kronecker], slots: Sequence[Slot], spec: SketchSpec) -> Sketch:
    """Return the sketch of a LoRA: values (S, m, p) float32 and present (S,), S = len(slots).

    Every value of the factors is read once. Raises MismatchError if the LoRA has a slot that is not in `slots`;
    RefusedFile nan-or-inf if a factor's projection S·up or down·Q has an entry that is not finite or above
    MAX_MAGNITUDE. No sign is zero, so every value that is not finite shows in all entries of its rank, and at least
    one entry is as large as the largest value, unless other values cancel it in each of them.
    """
    if unknown := set(lora) - {slot.name for slot in slots}:
        raise MismatchError(f"the LoRA has slots that the base model does not have, e.g. {min(unknown)}")
    values = torch.zeros(len(slots), spec.size, spec.size)
    factors_of = {name: update for name, update in lora.items() if isinstance(update, Factors)}
    buffers, projections = _buffers(spec.size), dict[str, tuple[Tensor, Tensor]]()
    for positions in _batches(factors_of, slots, spec.size):
        batch = [slots[position] for position in positions]
        updates = [factors_of[slot.name] for slot in batch]
        s_bits = [_bits(f"S|{slot.name}", slot.d_out, spec.size) for slot in batch]
        q_bits = [_bits(f"Q|{slot.fused}", slot.d_in, spec.size) for slot in batch]
        left = buffers.project([factors.up for factors in updates], 0, s_bits)
        right = buffers.project([factors.down for factors in updates], 1, q_bits)
        scales = torch.tensor([factors.scale / spec.size for factors in updates])
        values[positions] = torch.bmm(left.mT, right).mul_(scales[:, None, None])
        projections |= {slot.name: (left[number], right[number]) for number, slot in enumerate(batch)}
    for position, slot in enumerate(slots):
        if isinstance(update := lora.get(slot.name), Kronecker):
            values[position] = _sketch_kronecker(update, slot, spec.size)
    _check_magnitude(projections)
    present = torch.tensor([slot.name in lora for slot in slots], dtype=torch.bool)
    return Sketch(values, present)


def _sketch_kronecker(update: Kronecker, slot: Slot, size: int) -> Tensor:
    """Return the sketch (size, size) of one slot: the columns of Q are multiplied, and ΔW is not formed."""
    columns = update.apply(signs(f"Q|{slot.fused}", slot.d_in, size))
    sketched = signs(f"S|{slot.name}", slot.d_out, size).T @ columns / size
    if not _is_moderate(sketched):
        raise refusal("nan-or-inf", f"the update of {slot.name} is too large (sums above {MAX_MAGNITUDE:g})")
    return sketched


def _buffers(size: int) -> Buffers:
    """Return the buffers of this thread for sketches of a size."""
    buffers: dict[int, Buffers] = _OF_THREAD.__dict__.setdefault("buffers", {})
    return buffers.setdefault(size, Buffers(size))


def _batches(lora: Mapping[str, Factors], slots: Sequence[Slot], size: int) -> Iterator[list[int]]:
    """Yield the positions of the updated slots, in batches with equal shapes and dtypes of the factors."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for position, slot in enumerate(slots):
        if factors := lora.get(slot.name):
            up, down = factors.up, factors.down
            groups.setdefault((up.shape, down.shape, up.dtype, down.dtype), []).append(position)
    for positions in groups.values():
        slot = slots[positions[0]]
        count = max(1, BATCH_FLOATS // ((lora[slot.name].rank + size) * max(slot.d_in, slot.d_out)))
        yield from (positions[begin : begin + count] for begin in range(0, len(positions), count))


def _check_magnitude(projections: Mapping[str, tuple[Tensor, Tensor]]) -> None:
    """Refuse projections (slot -> of up and down) with an entry that is not finite or above MAX_MAGNITUDE."""
    matrices = list(chain.from_iterable(projections.values()))
    if not matrices or _is_moderate(torch.cat(matrices)):
        return
    slot = next(slot for slot, pair in projections.items() if not all(map(_is_moderate, pair)))
    limit = f"sums above {MAX_MAGNITUDE:g}"
    raise refusal("nan-or-inf", f"{slot} contains values that are not finite or too large ({limit})")


def _is_moderate(matrix: Tensor) -> bool:
    return float(matrix.abs().max()) <= MAX_MAGNITUDE


def signs(name: str, coordinates: int, size: int) -> Tensor:
    """Return the signs of a named matrix (coordinates, size): ±1 in float32, not yet divided by √size."""
    bits = _bits(name, coordinates, size)
    expanded = np.empty((len(bits), 8), dtype=np.float32)
    _expand_bits(bits, expanded)
    return torch.from_numpy(expanded.ravel()[: coordinates * size]).view(coordinates, size)


def _expand_bits(bits: Bits, out: npt.NDArray[np.float32]) -> None:
    """Write the signs (n, 8) of bytes (n,), by table lookup: three times as fast as unpacking bits."""
    _signs_of_bytes().take(bits, axis=0, out=out, mode="clip")


def inner_product(a: Sketch, b: Sketch) -> float:
    """Return the estimate of ⟨ΔW_a, ΔW_b⟩ over all slots, in float64.

    Raises MismatchError if the sketches differ in number of slots or in size.
    """
    if a.values.shape != b.values.shape:
        raise MismatchError(
            f"sketches of shapes {tuple(a.values.shape)} and {tuple(b.values.shape)} cannot be compared"
        )
    return float((a.values.double() * b.values.double()).sum())


def cosine(a: Sketch, b: Sketch) -> float:
    """Return the estimated cosine of two updates, in [-1, 1]; 0 if one of them is zero."""
    norms = math.sqrt(inner_product(a, a)) * math.sqrt(inner_product(b, b))
    return max(-1.0, min(1.0, inner_product(a, b) / norms)) if norms else 0.0


@lru_cache(maxsize=1)
def _signs_of_bytes() -> npt.NDArray[np.float32]:
    """Return the eight signs (256, 8) of each byte value."""
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    return np.where(bits, np.float32(-1), np.float32(1))


@lru_cache(maxsize=MAX_CACHED_MATRICES)
def _bits(name: str, coordinates: int, size: int) -> Bits:
    """Return the first coordinates · size bits of a named stream, packed in bytes, least significant bit first."""
    text = f"{DEFINITION}|{name}|{coordinates}x{size}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    words = split_mix(seed, math.ceil(coordinates * size / 64))
    return words.astype("<u8").view(np.uint8)
