"""The error of the norm: estimates and exact norms belong to the same slots, and an exact estimate has no error."""

import numpy as np
import pytest

from autolora.lora.factors import delta
from autolora.lora.sketch import SketchSpec, sketch
from bench.sketch_norm import compare_norms, main, relative_errors, sum_blocks
from tests.lora.writing import SLOTS, draw_lora

SPEC = SketchSpec(size=32)


def test_estimates_and_exact_norms_of_the_same_slots() -> None:
    lora = draw_lora()
    del lora[SLOTS[3].name]
    squares = compare_norms(lora, SLOTS, SPEC)
    assert squares[0].sum() == pytest.approx(sketch(lora, SLOTS, SPEC).norm ** 2)
    for index, slot in enumerate(SLOTS):
        exact = float(delta(lora[slot.name]).square().sum()) if slot.name in lora else 0.0
        assert squares[1, index] == pytest.approx(exact, rel=1e-5)
    blocks = sum_blocks(squares, SLOTS)
    assert len(blocks) == 3 and np.allclose(sum(blocks), squares.sum(1))
    assert len(relative_errors(squares.T)) == len(SLOTS) - 1


def test_errors_are_relative_and_of_norms() -> None:
    pairs = [np.array([4.0, 1.0]), np.array([1.0, 1.0]), np.array([0.0, 0.0])]
    assert relative_errors(pairs).tolist() == [1.0, 0.0]


def test_prints_a_table_of_both_widths(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"num_layers": 1, "num_single_layers": 1, "num_attention_heads": 2, "attention_head_dim": 24}
    monkeypatch.setattr("bench.sketch_norm.PLAYGROUND", small)
    main(["--flux", "0", "--playground", "4"])
    assert "| adapter, up to 20 linears | 4 |" in capsys.readouterr().out
