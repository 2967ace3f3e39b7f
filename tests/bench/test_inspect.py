"""The cost of an inspection: every round times all steps, and ratios are formed within a round."""

from pathlib import Path

import pytest

from bench import inspect
from bench.inspect import Cost, measure_cost, measure_rounds, ratio
from tests.inspection.files import BASE
from tests.lora.writing import draw_lora, peft, write


def test_every_round_times_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect, "open_base_model", lambda *_: BASE)
    monkeypatch.setattr(inspect, "ROUNDS", 2)
    rounds = measure_rounds(write(tmp_path / "lora.safetensors", peft(draw_lora())))
    assert len(rounds) == 2
    assert all(cost.seconds > 0 for costs in rounds for cost in costs)


def test_cost_is_per_file() -> None:
    calls: list[int] = []
    cost = measure_cost(lambda: calls.append(1), files=4)
    assert calls == [1] and isinstance(cost, Cost)


def test_rounds_on_a_slower_machine_give_the_same_ratio() -> None:
    assert ratio([(1.5 * factor, factor) for factor in (1.0, 2.0, 0.5)]) == pytest.approx(1.5)
