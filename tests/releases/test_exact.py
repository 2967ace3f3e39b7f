"""Exact checks refuse from the first night on, whatever the history."""

import pytest

from autolora.releases.checks import Decision
from tests.support.healthy import HEALTHY
from tests.support.nights import Nights
from tests.support.poisons import POISONS

pytestmark = pytest.mark.slow

EVIDENCE = "evidence that follows from no weights, captions and texts"
CAUGHT = {
    "texts' vectors of served adapters altered": "score changes",
    "weights' vectors of served adapters altered": "score changes",
    "trust in texts of newcomers altered": EVIDENCE,
    "text map exchanged": "score changes",
    "tokenizer of the index exchanged": "score changes",
    "encoder trained again silently": "score changes",
    "text encoder altered after the index": "text encoders",
    "captions and texts encoded by another sentence encoder": EVIDENCE,
    "empty texts' vectors of newcomers": EVIDENCE,
    "texts' vectors of another length": "vectors of texts of another length than 0 or 1",
    "NaN in texts' vectors": "vectors of texts of another length than 0 or 1",
    "trust in texts of served adapters altered": "score changes",
    "NaN in trust in texts": "trust in texts that is no number",
    "NaN in newcomers' weights' vectors": "vectors of weights that are not numbers",
    "adapters lost without a reason": "adapters lost without a reason",
    "index left behind the dataset": "adapters that are not as in the dataset",
    "restrictions lost by the index": "adapters that are not as in the dataset",
    "an adapter twice": "adapters listed twice",
    "two files under one name": "names of several files",
    "sketches of another recipe": "rows of another recipe or encoder",
    "captions of another instruction": "captions of another recipe",
    "captions of another captioner": "captions of another recipe",
    "adapters that were taken down": "adapters that were taken down",
    "adapters that were taken down by name": "adapters that were taken down",
    "rows changed on disk": "unreadable rows",
    "copy of the index changed on disk": "unreadable rows",
    "a newcomer's captions' vector set to that of queries": EVIDENCE,
    "a newcomer's texts' vector set to that of queries": EVIDENCE,
    "empty captions' vectors of newcomers": "captions that count, without a vector",
    "empty captions' vectors at the first release": "captions that count, without a vector",
    "relevance altered": "trainings",
    "everything withdrawn": "index without any adapter",
}
"""poison -> the exact check that refuses it"""
KINDS = {poison.name: poison for poison in POISONS}


@pytest.mark.parametrize("name", CAUGHT)
def test_a_fault_is_refused_by_the_check_for_it(bed: Nights, name: str) -> None:
    KINDS[name].night(bed)
    decision = bed.judge()
    assert decision.verdict == "refused"
    assert CAUGHT[name] in {check.name for check in decision.refusals}
    assert all(str(check) and check.trials is None for check in decision.refusals)


@pytest.mark.parametrize(
    "name",
    ["no new file", "captions a night late", "adapters are taken down", "an author is renamed",
     "new versions of files", "other licenses", "a rebuild on another processor", "a new hub"],
)  # fmt: skip
def test_a_healthy_night_meets_all_exact_checks(bed: Nights, name: str) -> None:
    HEALTHY[name](bed)
    decision = bed.judge()
    assert decision.verdict == "promoted" and not exact_failures(decision)


def test_unchanged_adapters_are_named_in_the_rule(bed: Nights) -> None:
    HEALTHY["an ordinary night"](bed)
    check = next(check for check in bed.judge().checks if check.name == "score changes")
    assert check.value == 0 and 0 < int(check.rule.split(" adapters")[0].split()[-1]) <= len(bed.accepted)


def exact_failures(decision: Decision) -> list[str]:
    """Return the exact checks that are not met."""
    return [str(check) for check in decision.checks if check.trials is None and not check.passed]
