"""The known updates of the cases of layouts, and their comparison with those that were read."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from autolora.lora.factors import Factors, Lora, squared_norm
from autolora.lora.slots import FusedSlot, Slot, fused_slots, slots
from tests.lora.layout_cases import Case
from tests.lora.writing import CONFIG, WIDE, draw_fused

TOLERANCE = 1e-5
ROWS = 64
BASES: dict[str, tuple[tuple[Slot, ...], tuple[FusedSlot, ...]]] = {
    "flux.1-dev": (slots(WIDE), fused_slots(WIDE)),
    "tiny": (slots(CONFIG), fused_slots(CONFIG)),
}


def draw(case: Case, fused: tuple[FusedSlot, ...]) -> Lora:
    lora = {name: f for name, f in draw_fused(fused, case.ranks, case.scales).items() if case.updates(name)}
    if case.separate_downs:
        lora = {name: replace(f, down=f.down.roll(i, 1)) for i, (name, f) in enumerate(lora.items())}
    return lora


def unscaled(lora: Lora) -> Lora:
    return {name: replace(factors, scale=1.0) for name, factors in lora.items()}


def assert_close(actual: Mapping[str, Factors], expected: Mapping[str, Factors], base: str) -> None:
    """Compare the slots and their updates, by entry and as a whole."""
    assert set(actual) == set(expected)
    for name, truth in expected.items():
        factors, rows = actual[name], slice(None) if base == "tiny" else sample_rows(len(truth.up))
        update = truth.scale * (truth.up[rows].double() @ truth.down.double())
        error = factors.scale * (factors.up[rows].double() @ factors.down.double()) - update
        assert error.abs().max() <= TOLERANCE * update.abs().max(), name
        assert squared_norm(difference(factors, truth)) <= TOLERANCE**2 * squared_norm(truth), name


def sample_rows(count: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(count))[:ROWS]


def difference(a: Factors, b: Factors) -> Factors:
    """Return the update a - b as stacked factors."""
    up = torch.cat((a.scale * a.up.double(), -b.scale * b.up.double()), dim=1)
    return Factors(torch.cat((a.down.double(), b.down.double())), up, 1.0)
