"""Any LoRA: random slots, ranks, scales and layouts are read as they were written, and sketched alike."""

import random
from pathlib import Path

import pytest
import torch

from autolora.lora.factors import Factors, Lora
from autolora.lora.sketch import SketchSpec, dot, sketch
from tests.lora.test_read import LAYOUTS, assert_same, read_tensors
from tests.lora.writing import SLOTS

SPEC = SketchSpec(16)


def draw(seed: int) -> Lora:
    """Draw a LoRA of some slots, at least one; ranks 1 to 5, scales of either sign over three decades."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    share = rng.random()
    chosen = [slot for slot in SLOTS if rng.random() < share] or [rng.choice(SLOTS)]
    lora: Lora = {}
    for slot in chosen:
        rank = rng.randint(1, 5)
        down, up = (
            torch.randn(shape, generator=generator) for shape in ((rank, slot.d_in), (slot.d_out, rank))
        )
        lora[slot.name] = Factors(down, up, rng.choice((-1, 1)) * 10 ** rng.uniform(-3, 0.3))
    return lora


@pytest.mark.long(full=3000, sample=20)
def test_is_read_as_it_was_written(tmp_path: Path, seed: int) -> None:
    lora = draw(seed)
    layout = random.Random(seed).choice(sorted(LAYOUTS))
    tensors = LAYOUTS[layout](lora)
    keys = random.Random(seed).sample(sorted(tensors), len(tensors))
    reading = read_tensors(tmp_path, {key: tensors[key] for key in keys})
    assert reading.layout == layout
    assert reading.keys_used == reading.keys_seen == len(tensors)
    assert_same(reading.lora, lora)


@pytest.mark.long(full=3000, sample=20)
def test_has_the_sketch_of_its_update_however_it_is_factored(seed: int) -> None:
    lora, generator = draw(seed), torch.Generator().manual_seed(seed)
    other = {name: refactored(factors, generator) for name, factors in lora.items()}
    first, second = sketch(lora, SLOTS, SPEC), sketch(other, SLOTS, SPEC)
    assert torch.equal(first.present, second.present)
    difference = (first.values - second.values).square().sum() ** 0.5
    assert difference <= 1e-4 * dot(first, first) ** 0.5


def refactored(factors: Factors, generator: torch.Generator) -> Factors:
    """Return the same update by other factors: R·A and B·R⁻¹, a rank more that does nothing, another scale."""
    turn = torch.linalg.qr(torch.randn(factors.rank, factors.rank, generator=generator))[0]
    pad = torch.randn(1, factors.down.shape[1], generator=generator)
    down = torch.cat((turn @ factors.down, pad))
    up = torch.cat((factors.up @ turn.T, torch.zeros(len(factors.up), 1)), dim=1)
    return Factors(down, up * factors.scale / 2, 2.0)
