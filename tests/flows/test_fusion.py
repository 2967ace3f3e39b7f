"""Lines of progress of the flow `fusion`."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from autolora.params import load
from autolora.progress import Progress
from bench.processes import PROJECT
from flows import fusion


def test_progress_has_the_loss_of_the_last_step_and_none_before_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Callable[[], str]] = []
    details: list[str] = []

    def make_progress(*arguments: Any, detail: Callable[[], str]) -> Progress:
        made.append(detail)
        return Progress(*arguments, detail=detail)

    def train(*arguments: Any) -> SimpleNamespace:
        *_, record = arguments
        details.append(made[0]())
        record(1, 2, 0.25)
        details.append(made[0]())
        return SimpleNamespace(losses=[0.25], held_out=[])

    monkeypatch.setattr(fusion, "Progress", make_progress)
    monkeypatch.setattr(fusion.stage, "train", train)
    assert fusion.train(load(PROJECT / "params.yaml")) == "1 steps, loss 0.250"
    assert details == ["", "loss 0.250"]
