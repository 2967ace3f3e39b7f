"""The encoder's input: the sketches of an adapter's slots, or the factors of its updates stacked by shape.

Both come in the encoder's view of the slots, canonical or fused (an exact conversion), as batches (B, ...).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from autolora.lora.factors import Factors
from autolora.lora.sketch import Sketch
from autolora.lora.slots import FusedSlot, Slot

KEPT_BYTES = 4 * 10**9
"""of adapters that `keeping` holds: 1,900 sketches of FLUX.1-dev, or 7 files of rank 16"""

Groups = Sequence[Sequence[int]]
"""indices of the slots, in groups of one shape that are stacked"""
Stacks = tuple[tuple[Tensor, Tensor], ...]
"""per group of n slots: down (B, n, r, d_in) and up (B, n, d_out, r) with the scale in `up`; zero if missing"""


@dataclass(frozen=True, slots=True, eq=False)
class AdapterBatch:
    """The updates of B adapters in S slots."""

    values: Tensor | Stacks
    """sketches (B, S, m, p), or factors by group"""
    present: Tensor
    """(B, S) bool: whether an adapter changes a slot"""

    @property
    def nbytes(self) -> int:
        """The bytes of the sketches or factors."""
        if isinstance(self.values, Tensor):
            return self.values.nbytes
        return sum(down.nbytes + up.nbytes for down, up in self.values)

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Self:
        """Return the batch on a device, in the given precision."""
        present = self.present.to(device)
        if isinstance(self.values, Tensor):
            return type(self)(self.values.to(device, dtype), present)
        moved = tuple((down.to(device, dtype), up.to(device, dtype)) for down, up in self.values)
        return type(self)(moved, present)


def batch_of_sketch(sketch: Sketch, fused_indices: Sequence[int] | None) -> AdapterBatch:
    """Return one adapter's sketch as a batch of one.

    fused_indices: None for the canonical view; for the fused view, the index of each canonical slot's fused slot.
    The sketch of a fused slot is the sum of the sketches of its parts.
    """
    if fused_indices is None:
        return AdapterBatch(sketch.values[None], sketch.present[None])
    indices, count = torch.tensor(fused_indices), max(fused_indices) + 1
    values = sketch.values.new_zeros(count, *sketch.values.shape[1:]).index_add(0, indices, sketch.values)
    present = torch.zeros(count, dtype=torch.int).index_add(0, indices, sketch.present.int()) > 0
    return AdapterBatch(values[None], present[None])


def batch_of_lora(
    lora: Mapping[str, Factors], slots: Sequence[Slot | FusedSlot], groups: Groups
) -> AdapterBatch:
    """Return one adapter's factors, named as these slots, as a batch of one in float32."""
    stacks = tuple(_stack(lora, [slots[index] for index in indices]) for indices in groups)
    return AdapterBatch(stacks, torch.tensor([[slot.name in lora for slot in slots]]))


def concatenate(batches: Sequence[AdapterBatch]) -> AdapterBatch:
    """Return the batches as one; ranks are padded with zeros to the largest of their group."""
    present = torch.cat([batch.present for batch in batches])
    sketches = [batch.values for batch in batches if isinstance(batch.values, Tensor)]
    if sketches:
        return AdapterBatch(torch.cat(sketches), present)
    stacks = [batch.values for batch in batches if not isinstance(batch.values, Tensor)]
    return AdapterBatch(tuple(_concatenate(list(group)) for group in zip(*stacks, strict=True)), present)


def keeping(read: Callable[[str], AdapterBatch], max_bytes: int) -> Callable[[str], AdapterBatch]:
    """Return `read` that keeps the first adapters it reads, up to a number of bytes, and reads the others each time."""
    kept: dict[str, AdapterBatch] = {}
    free = max_bytes

    def read_or_take(sha256: str) -> AdapterBatch:
        nonlocal free
        if sha256 in kept:
            return kept[sha256]
        batch = read(sha256)
        if batch.nbytes <= free:
            kept[sha256] = batch
            free -= batch.nbytes
        return batch

    return read_or_take


def _stack(lora: Mapping[str, Factors], slots: Sequence[Slot | FusedSlot]) -> tuple[Tensor, Tensor]:
    """Return down (1, n, r, d_in) and up (1, n, d_out, r) of n slots of one shape; r is their largest rank."""
    present = [(index, lora[slot.name]) for index, slot in enumerate(slots) if slot.name in lora]
    rank = max((factors.rank for _, factors in present), default=1)
    down = torch.zeros(1, len(slots), rank, slots[0].d_in)
    up = torch.zeros(1, len(slots), slots[0].d_out, rank)
    for index, factors in present:
        down[0, index, : factors.rank] = factors.down.float()
        up[0, index, :, : factors.rank] = factors.up.float() * factors.scale
    return down, up


def _concatenate(group: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    rank = max(down.shape[-2] for down, _ in group)
    downs = [functional.pad(down, (0, 0, 0, rank - down.shape[-2])) for down, _ in group]
    ups = [functional.pad(up, (0, rank - up.shape[-1])) for _, up in group]
    return torch.cat(downs), torch.cat(ups)
