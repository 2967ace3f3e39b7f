"""What the encoder reads of an adapter: the sketches of its slots, or the factors of its updates, stacked.

Both come in the view of the encoder's slots, canonical or fused (exactly), and in batches (B, ...).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from autolora.lora.factors import Factors
from autolora.lora.sketch import Sketch
from autolora.slots import FusedSlot, Slot

Groups = Sequence[Sequence[int]]
"""places of the slots, in groups of one shape that are stacked"""
Stacks = tuple[tuple[Tensor, Tensor], ...]
"""for each group of n slots, down (B, n, r, d_in) and up (B, n, d_out, r), scales in `up`, zero where absent"""


@dataclass(frozen=True, slots=True, eq=False)
class Updates:
    """A batch of adapters."""

    values: Tensor | Stacks
    """sketches (B, S, m, p), or factors by group"""
    present: Tensor
    """(B, S) bool"""

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Self:
        """Return the batch on a device, in a precision."""
        present = self.present.to(device)
        if isinstance(self.values, Tensor):
            return type(self)(self.values.to(device, dtype), present)
        moved = tuple((down.to(device, dtype), up.to(device, dtype)) for down, up in self.values)
        return type(self)(moved, present)


def of_sketch(sketch: Sketch, parts: Sequence[int] | None) -> Updates:
    """Return one adapter's sketch as a batch of one.

    parts: None for the canonical view, else the place of each canonical slot's fused slot. The sketch of a
    fused slot is the sum of its parts'.
    """
    if parts is None:
        return Updates(sketch.values[None], sketch.present[None])
    places, count = torch.tensor(parts), max(parts) + 1
    values = sketch.values.new_zeros(count, *sketch.values.shape[1:]).index_add(0, places, sketch.values)
    present = torch.zeros(count, dtype=torch.int).index_add(0, places, sketch.present.int()) > 0
    return Updates(values[None], present[None])


def of_lora(lora: Mapping[str, Factors], slots: Sequence[Slot | FusedSlot], groups: Groups) -> Updates:
    """Return one adapter's factors, by the names of these slots, as a batch of one, in float32."""
    stacks = tuple(_stack(lora, [slots[place] for place in places]) for places in groups)
    return Updates(stacks, torch.tensor([[slot.name in lora for slot in slots]]))


def join(batch: Sequence[Updates]) -> Updates:
    """Return a batch of batches; ranks are padded with zeros to the largest of their group."""
    present = torch.cat([one.present for one in batch])
    sketches = [one.values for one in batch if isinstance(one.values, Tensor)]
    if sketches:
        return Updates(torch.cat(sketches), present)
    stacked = [one.values for one in batch if not isinstance(one.values, Tensor)]
    return Updates(tuple(_join(list(group)) for group in zip(*stacked, strict=True)), present)


def norms(down: Tensor, up: Tensor) -> Tensor:
    """Return ‖up·down‖ (B, n) of stacked factors, without forming the product."""
    left, right = up.transpose(-1, -2) @ up, down @ down.transpose(-1, -2)
    return (left * right).sum((-1, -2)).clamp_min(0).sqrt()


def _stack(lora: Mapping[str, Factors], slots: Sequence[Slot | FusedSlot]) -> tuple[Tensor, Tensor]:
    """Return down (1, n, r, d_in) and up (1, n, d_out, r) of slots of one shape; r is their largest rank."""
    found = [(place, lora[slot.name]) for place, slot in enumerate(slots) if slot.name in lora]
    rank = max((factors.rank for _, factors in found), default=1)
    down = torch.zeros(1, len(slots), rank, slots[0].d_in)
    up = torch.zeros(1, len(slots), slots[0].d_out, rank)
    for place, factors in found:
        down[0, place, : factors.rank] = factors.down.float()
        up[0, place, :, : factors.rank] = factors.up.float() * factors.scale
    return down, up


def _join(group: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    rank = max(down.shape[-2] for down, _ in group)
    downs = [functional.pad(down, (0, 0, 0, rank - down.shape[-2])) for down, _ in group]
    ups = [functional.pad(up, (0, rank - up.shape[-1])) for _, up in group]
    return torch.cat(downs), torch.cat(ups)
