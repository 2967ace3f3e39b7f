"""What reading costs over hashing: every step is timed in every round, and ratios are paired within a round."""

from pathlib import Path

import pytest

from bench.reading import ROUNDS, compare, take_turns
from tests.lora.writing import SLOTS, draw_lora, peft, write


def test_every_round_takes_all_steps(tmp_path: Path) -> None:
    rounds = take_turns(write(tmp_path / "lora.safetensors", peft(draw_lora())), SLOTS, 32)
    assert len(rounds) == ROUNDS
    assert all(
        list(row) == ["hash", "plain read", "read", "sketch", "sketch and norm"]
        and all(seconds > 0 for seconds in row.values())
        for row in rounds
    )


def test_a_ratio_is_of_one_round() -> None:
    """A machine that is twice as slow in a round changes nothing."""
    row = {"hash": 0.75, "plain read": 0.25, "read": 0.5, "sketch": 1.0, "sketch and norm": 1.25}
    rounds = [{name: factor * seconds for name, seconds in row.items()} for factor in (1, 2, 0.5)]
    assert compare(rounds, "sketch") == pytest.approx(1.5)
    assert compare(rounds, "sketch and norm") == pytest.approx(1.75)
