"""Shares of an update per block, stack and part."""

import pytest

from autolora.inspection.blocks import measure_changes
from autolora.lora.factors import squared_norm
from autolora.lora.sketch import SketchSpec, sketch
from tests.lora.writing import SLOTS, draw_lora

SPEC = SketchSpec(128)


def test_shares_are_those_of_the_exact_norms() -> None:
    lora = draw_lora(3)
    changes = measure_changes(sketch(lora, SLOTS, SPEC), SLOTS)
    total = sum(map(squared_norm, lora.values()))
    for block, share in changes.blocks.items():
        exact = (
            sum(squared_norm(factors) for name, factors in lora.items() if name.startswith(f"{block}."))
            / total
        )
        assert share == pytest.approx(exact, abs=0.03)
    assert changes.norm == pytest.approx(total**0.5, rel=0.03)
    for shares in (changes.blocks, changes.stacks, changes.parts):
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)


def test_block_that_is_not_changed_has_share_zero() -> None:
    lora = {
        name: factors for name, factors in draw_lora().items() if name.startswith("transformer_blocks.1.attn")
    }
    changes = measure_changes(sketch(lora, SLOTS, SPEC), SLOTS)
    assert changes.blocks == {
        "transformer_blocks.0": 0,
        "transformer_blocks.1": 1,
        "single_transformer_blocks.0": 0,
    }
    assert changes.parts == {"attention": 1}
    assert changes.stacks == {"double blocks": 1, "single blocks": 0}


def test_every_kind_of_layer_belongs_to_a_part() -> None:
    changes = measure_changes(sketch(draw_lora(), SLOTS, SPEC), SLOTS)
    assert set(changes.parts) == {"attention", "MLP", "modulation", "output of single blocks"}
