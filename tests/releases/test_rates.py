"""Limits of rates: by the operator's own nights, per hub and over all hubs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from autolora.index.served import open_copy_of
from autolora.refresh.outcomes import Outcome
from autolora.releases import rates
from autolora.releases.checks import ALL_HUBS, Check, read_decisions
from autolora.releases.rates import DISAGREE, EARLY_ADAPTERS, EARLY_SHARE, MAX_WEIGHT, MIN_NIGHTS, Rate
from tests.support.nights import Delivery, Nights, live
from tests.support.poisons import POISONS

CONTRADICTED = "captions that the weights contradict"
RARE, FREQUENT = [(0, 20)] * 12, [(8, 20)] * 12


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Return an operator whose encoder contradicts wrong captions, after one night."""
    return live(tmp_path_factory.mktemp("sharp") / "root", 1, nights=1)


def limit(trials: int, past: Sequence[tuple[int, int]] = RARE) -> int:
    return rates._limit(trials, past, MAX_WEIGHT)


def test_a_limit_grows_with_the_night_and_with_what_was_usual() -> None:
    assert limit(10) <= limit(20) <= limit(40) < 40
    assert limit(40, RARE) < limit(40, FREQUENT) < 40


def test_many_nights_do_not_make_a_limit_as_narrow_as_single_files_would() -> None:
    assert limit(40, FREQUENT * 100) == limit(40, FREQUENT) > 0.4 * 40


def test_no_history_excludes_little() -> None:
    assert limit(3, []) == 3 and limit(40, []) > 25


def test_few_nights_warn_and_more_refuse() -> None:
    checks = [
        rates._judged(Rate("files refused", "civitai", 9, 9), 4, n) for n in (MIN_NIGHTS - 1, MIN_NIGHTS)
    ]
    assert [check.refuses for check in checks] == [False, True]
    assert "9 of 10 nights are known" in checks[0].rule


def test_files_are_counted_per_hub_and_over_all() -> None:
    kinds = {
        "civitai": ["accepted", "refused", "waiting", "removed"],
        "huggingface": ["duplicate", "refused"],
    }
    read = [
        Outcome(kind=kind, name=f"{hub}:{n}/a", sha256=None)  # type: ignore[arg-type]
        for hub, of_hub in kinds.items()
        for n, kind in enumerate(of_hub)
    ]
    found = {(rate.name, rate.hub): (rate.events, rate.trials) for rate in rates._file_rates(read)}
    assert found == {
        ("files refused", "civitai"): (1, 2),
        ("files refused", "huggingface"): (1, 2),
        ("files refused", ALL_HUBS): (2, 4),
        ("near-duplicates", "civitai"): (0, 2),
        ("near-duplicates", "huggingface"): (1, 2),
        ("near-duplicates", ALL_HUBS): (1, 4),
    }
    assert {rate.hub for rate in rates._file_rates(read[:4])} == {"civitai"}


@pytest.mark.parametrize(("share", "most"), [(0.001, 0.25), (0.1, 0.5), (0.5, 0.9), (1.0, 1.0)])
def test_newcomers_may_win_their_share_of_the_queries(share: float, most: float) -> None:
    assert share * 48 <= rates._query_limit(48, share) <= most * 48


def test_an_operator_with_two_nights_is_warned_of_a_flood(bed: Nights) -> None:
    next(poison for poison in POISONS if poison.name == "flood of refused files").night(bed)
    decision = bed.judge()
    assert decision.verdict == "promoted"
    assert {(check.name, check.hub) for check in decision.warnings} >= {("files refused", "civitai")}
    assert "civitai:" in decision.warnings[0].detail


@pytest.mark.parametrize("name", ["the same caption for all newcomers", "captions of other images"])
def test_a_broken_captioner_is_refused_without_history(sharp: Nights, tmp_path: Path, name: str) -> None:
    bed = sharp.copied(tmp_path / "root", name)
    next(poison for poison in POISONS if poison.name == name).night(bed)
    decision = bed.judge()
    (check,) = decision.refusals
    assert check.name == CONTRADICTED and check.trials is not None
    assert check.value > EARLY_SHARE * check.trials
    assert "as long as fewer than 10 nights are known: does the captioner see the images?" in str(check)


def test_a_first_release_is_checked_too_and_a_known_captioner_by_its_nights(sharp: Nights) -> None:
    decisions = read_decisions(sharp.root)
    assert [CONTRADICTED in {check.name for check in made.checks} for made in decisions] == [True] * 2
    index = open_copy_of(sharp.root, decisions[-1].index)
    past = [replace(decisions[-1], checks=(disagreeing(0, 9),))] * MIN_NIGHTS
    early = rates.rate_checks(sharp.root, None, index, [], [], past[1:])
    assert [check.name for check in early] == [CONTRADICTED]
    assert not [*rates.rate_checks(sharp.root, None, index, [], [], past)]


def disagreeing(value: int, trials: int) -> Check:
    """Return the rate of one night."""
    return Check(name=DISAGREE, hub=ALL_HUBS, value=value, trials=trials, rule="", passed=True)


def test_few_new_captions_refuse_nothing_without_history() -> None:
    rows = [{"id": f"a/{n}", "uses_captions": n >= 7} for n in range(EARLY_ADAPTERS)]
    assert [check.passed for check in rates._early_check(rows[:-1])] == [True]
    assert [check.passed for check in rates._early_check(rows)] == [False]
    assert [check.passed for check in rates._early_check(rows[1:] + rows[-1:])] == [True], "just the half"
    assert not [*rates._early_check([])]


def test_the_same_captions_are_counted(bed: Nights) -> None:
    next(poison for poison in POISONS if poison.name.startswith("the same caption")).night(bed)
    counts = {check.hub: check for check in bed.judge().checks if check.name == "captions repeated"}
    check = counts.get(ALL_HUBS) or next(iter(counts.values()))
    images = sum(len(item.listing.renderings) for item in bed.newcomers)
    assert check.trials is not None and images <= check.trials and check.value >= images


def test_captions_that_come_late_are_no_change(bed: Nights) -> None:
    quiet = Delivery(size=8, refused=0, copied=0, withdrawn=0, recaptioned=0, captioned=False)
    bed.refresh(quiet)
    decision = bed.refresh(Delivery(size=0, withdrawn=0, recaptioned=0))
    found = {check.name: check for check in decision.checks if check.hub in (ALL_HUBS, "civitai")}
    assert found["captions changed"].value == 0
    assert found["captions that disagree"].trials
