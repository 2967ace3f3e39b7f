"""Poisons and healthy nights of an operator with 13 nights of history: `python -m bench.gate` has the numbers."""

from pathlib import Path

import pytest

from autolora.releases.checks import read_decisions
from tests.support.healthy import HEALTHY
from tests.support.nights import NIGHTS_BEFORE, Nights, live
from tests.support.poisons import POISONS

pytestmark = pytest.mark.slow

BEDS, FIRST = 5, 200
"""operators of the long tests, and the seed of the first; the limits were chosen on others"""


def operator(operators: dict[int, Nights], factory: pytest.TempPathFactory, number: int) -> Nights:
    """Return an operator, made by the first test that needs it."""
    if number not in operators:
        operators[number] = live(factory.mktemp("operator") / "root", FIRST + number)
    return operators[number]


@pytest.mark.long(full=BEDS * len(POISONS), sample=6)
def test_a_poisoned_night_is_refused(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, operators: dict[int, Nights], seed: int
) -> None:
    number, kind = divmod(seed, len(POISONS))
    poison = POISONS[kind * 7 % len(POISONS)]
    bed = operator(operators, tmp_path_factory, number).copied(tmp_path / "root", poison.name)
    poison.night(bed)
    decision = bed.judge()
    assert decision.verdict == "refused" or poison.missed, f"{poison.name} is {decision.verdict}"


@pytest.mark.long(full=BEDS * len(HEALTHY), sample=4)
def test_a_healthy_night_is_promoted(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, operators: dict[int, Nights], seed: int
) -> None:
    number, kind = divmod(seed, len(HEALTHY))
    name, night = [*HEALTHY.items()][kind * 5 % len(HEALTHY)]
    bed = operator(operators, tmp_path_factory, number).copied(tmp_path / "root", name)
    night(bed)
    decision = bed.judge()
    assert decision.verdict == "promoted", f"{name}: {'; '.join(map(str, decision.refusals))}"


def test_an_operator_has_promoted_nights_and_its_rates_may_refuse(
    tmp_path_factory: pytest.TempPathFactory, operators: dict[int, Nights]
) -> None:
    bed = operator(operators, tmp_path_factory, 0)
    decisions = read_decisions(bed.root)
    assert [decision.verdict for decision in decisions] == ["promoted"] * (NIGHTS_BEFORE + 1)
    assert any(check.trials and check.severity == "refuse" for check in decisions[-1].checks)
