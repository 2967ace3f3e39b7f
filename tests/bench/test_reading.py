"""The cost of reading relative to hashing: every round times all steps, and ratios are formed within a round."""

from pathlib import Path

import pytest

from bench.reading import ROUNDS, measure_rounds, relative_cost
from tests.lora.writing import SLOTS, draw_lora, peft, write


def test_every_round_times_all_steps(tmp_path: Path) -> None:
    rounds = measure_rounds(write(tmp_path / "lora.safetensors", peft(draw_lora())), SLOTS, 32)
    assert len(rounds) == ROUNDS
    assert all(
        list(row) == ["hash", "plain read", "read", "read and sketch"]
        and all(seconds > 0 for seconds in row.values())
        for row in rounds
    )


def test_rounds_on_a_slower_machine_give_the_same_ratio() -> None:
    row = {"hash": 0.75, "plain read": 0.25, "read": 0.5, "read and sketch": 1.5}
    assert relative_cost(
        [{name: factor * seconds for name, seconds in row.items()} for factor in (1, 2, 0.5)]
    ) == pytest.approx(1.5)
