"""What an update changes: the share of ‖ΔW‖² of each block and of each part of the transformer, from a sketch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autolora.lora.sketch import Sketch
from autolora.lora.slots import Slot

DIGITS = 4
"""decimals of a share; estimates deviate by about 1 % of a large share"""
STACKS = {"transformer_blocks": "double blocks", "single_transformer_blocks": "single blocks"}
ATTENTION, MLP, MODULATION = "attention", "MLP", "modulation"
SINGLE_OUTPUT = "output of single blocks"
"""`proj_out` of a single block, which is the output of attention and MLP together"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Changes:
    """‖ΔW‖, and shares of its square: numbers from 0 to 1 that add up to 1 in each mapping."""

    norm: float
    """Frobenius norm over all slots, estimated (docs/sketch.md)"""
    blocks: dict[str, float]
    """block, e.g. `transformer_blocks.3`, in the order of the transformer; 0 for one that is not changed"""
    stacks: dict[str, float]
    """double blocks and single blocks"""
    parts: dict[str, float]
    """attention, MLP, modulation, output of single blocks; those that are not changed are left out"""


def measure_changes(sketch: Sketch, slots: Sequence[Slot]) -> Changes:
    """Return what an update changes. sketch: of these slots."""
    energies = sketch.values.double().square().sum((1, 2))
    norm = math.sqrt(float(energies.sum()))
    total = float(energies.sum()) or 1.0
    blocks, stacks, parts = dict[str, float](), dict[str, float](), dict[str, float]()
    for slot, energy in zip(slots, energies.tolist(), strict=True):
        stack, block, _ = slot.name.split(".", 2)
        for shares, name in ((blocks, f"{stack}.{block}"), (stacks, STACKS[stack]), (parts, _part(slot))):
            shares[name] = shares.get(name, 0.0) + energy / total
    return Changes(
        norm=float(f"{norm:.6g}"),  # further digits depend on the number of threads that summed
        blocks=_rounded(blocks),
        stacks=_rounded(stacks),
        parts={part: share for part, share in _rounded(parts).items() if share},
    )


def _part(slot: Slot) -> str:
    kind = slot.type.partition(".")[2]
    if kind.startswith("attn."):
        return ATTENTION
    if kind.startswith("norm"):
        return MODULATION
    return SINGLE_OUTPUT if kind == "proj_out" else MLP


def _rounded(shares: dict[str, float]) -> dict[str, float]:
    return {name: round(share, DIGITS) for name, share in shares.items()}
