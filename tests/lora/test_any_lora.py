"""Random LoRAs: any slots, ranks, scales and layouts are read as written, and equal updates have equal sketches."""

import random
from pathlib import Path

import pytest
import torch

from autolora.lora.factors import Factors, Lora
from autolora.lora.sketch import SketchSpec, inner_product, sketch
from tests.lora.copies import LAYOUTS
from tests.lora.test_read import assert_same, read_tensors
from tests.lora.writing import SLOTS

SPEC = SketchSpec(16)


def draw(seed: int) -> Lora:
    """Draw a LoRA with at least one slot, ranks 1 to 5 and scales of either sign from 0.001 to 2."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    share = rng.random()
    slots = [slot for slot in SLOTS if rng.random() < share] or [rng.choice(SLOTS)]
    lora: Lora = {}
    for slot in slots:
        rank = rng.randint(1, 5)
        down, up = (
            torch.randn(shape, generator=generator) for shape in ((rank, slot.d_in), (slot.d_out, rank))
        )
        lora[slot.name] = Factors(down, up, rng.choice((-1, 1)) * 10 ** rng.uniform(-3, 0.3))
    return lora


@pytest.mark.long(full=3000, sample=20)
def test_random_lora_is_read_as_written(tmp_path: Path, seed: int) -> None:
    lora = draw(seed)
    layout = random.Random(seed).choice(sorted(LAYOUTS))
    tensors = LAYOUTS[layout](lora)
    keys = random.Random(seed).sample(sorted(tensors), len(tensors))
    reading = read_tensors(tmp_path, {key: tensors[key] for key in keys})
    assert reading.layout == layout.partition(" ")[0]
    assert reading.keys_used == reading.keys_seen == len(tensors)
    assert_same(reading.lora, lora)


@pytest.mark.long(full=3000, sample=20)
def test_sketch_is_invariant_to_refactoring(seed: int) -> None:
    lora, generator = draw(seed), torch.Generator().manual_seed(seed)
    other = {name: refactor(factors, generator) for name, factors in lora.items()}
    first, second = sketch(lora, SLOTS, SPEC), sketch(other, SLOTS, SPEC)
    assert torch.equal(first.present, second.present)
    difference = (first.values - second.values).square().sum() ** 0.5
    assert difference <= 1e-4 * inner_product(first, first) ** 0.5


def refactor(factors: Factors, generator: torch.Generator) -> Factors:
    """Return the same update with other factors: R·A and B·R⁻¹, an additional zero rank, another scale."""
    rotation = torch.linalg.qr(torch.randn(factors.rank, factors.rank, generator=generator))[0]
    gauge = rotation * torch.linspace(0.5, 4, factors.rank)
    pad = torch.randn(1, factors.down.shape[1], generator=generator)
    down = torch.cat((gauge @ factors.down, pad))
    up = torch.cat((factors.up @ torch.linalg.inv(gauge), torch.zeros(len(factors.up), 1)), dim=1)
    return Factors(down, up * factors.scale / 2, 2.0)
