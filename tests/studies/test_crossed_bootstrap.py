"""Intervals of cases that share members of one or more populations."""

import numpy as np
import pytest

from studies.crossed_bootstrap import MIN_CASES, Groups, case_weights, estimate, interval

OBJECTS, STYLES = 6, 8
GRID = [
    (("object", str(thing)), ("style", str(style))) for thing in range(OBJECTS) for style in range(STYLES)
]
ALONE = [(("case", str(number)),) for number in range(OBJECTS * STYLES)]


def test_a_case_counts_as_often_as_its_members_were_drawn() -> None:
    weights = case_weights(GRID, resamples=50, seed=0).reshape(50, OBJECTS, STYLES)
    objects, styles = weights.sum(axis=2), weights.sum(axis=1)
    assert np.array_equal(weights.sum(axis=(1, 2)), np.full(50, OBJECTS * STYLES))
    assert np.array_equal(weights, objects[:, :, None] * styles[:, None, :] / (OBJECTS * STYLES))


def test_cases_without_common_members_are_resampled_as_in_a_plain_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=len(ALONE))
    low, high = interval(values, case_weights(ALONE, resamples=4000, seed=0))
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert values.mean() - low == pytest.approx(half, rel=0.1)
    assert high - values.mean() == pytest.approx(half, rel=0.1)


def test_an_interval_is_wider_if_objects_differ() -> None:
    by_object = np.repeat(np.random.default_rng(0).normal(size=OBJECTS), STYLES)
    crossed, plain = (interval(by_object, case_weights(groups, 2000, seed=0)) for groups in (GRID, ALONE))
    assert crossed[1] - crossed[0] > 2 * (plain[1] - plain[0])


def test_sets_that_share_adapters_of_one_population_are_not_independent() -> None:
    pairs = [(("adapter", str(a)), ("adapter", str(b))) for a in range(6) for b in range(a)]
    weights = case_weights(pairs, resamples=20, seed=0)
    counts = [[w for pair, w in zip(pairs, row, strict=True) if ("adapter", "0") in pair] for row in weights]
    assert any(not any(row) for row in counts)  # an adapter that was not drawn takes all of its pairs with it


def test_undefined_values_are_left_out() -> None:
    values = np.array([1.0, np.nan] * MIN_CASES)
    entry = estimate(values, ALONE[: len(values)])
    assert entry == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_few_cases_have_no_interval() -> None:
    values = np.array([0.0, 1.0, 1.0, 0.0, 0.5])
    few = {"value": 0.5, "low": None, "high": None}
    assert estimate(values[: MIN_CASES - 1], ALONE[: MIN_CASES - 1]) == few
    undefined = np.array([*values[: MIN_CASES - 1], np.nan, np.nan])
    assert estimate(undefined, ALONE[: MIN_CASES + 1]) == few
    enough = estimate(values, ALONE[:MIN_CASES])
    assert enough["low"] is not None and enough["high"] is not None and enough["low"] < enough["high"]


@pytest.mark.parametrize("cases", [GRID[:STYLES], GRID[::STYLES]], ids=["one object", "one style"])
def test_a_single_member_of_a_population_gives_no_interval(cases: list[Groups]) -> None:
    entry = estimate(np.arange(len(cases), dtype=np.float64), cases)
    assert entry["low"] is entry["high"] is None


def test_two_members_of_each_population_give_an_interval() -> None:
    cases = [GRID[row * STYLES + column] for row in (0, 1) for column in (0, 1)] * 2
    entry = estimate(np.array([0.0, 1.0, 1.0, 0.0] * 2), cases)
    assert (entry["low"], entry["high"]) == (0.0, 1.0)


def test_estimate_without_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate(np.full(4, np.nan), ALONE[:4])
    with pytest.raises(ValueError, match="no values"):
        estimate(np.array([]), [])
    with pytest.raises(ValueError, match="no values"):
        interval(np.full(4, np.nan), case_weights(ALONE[:4], resamples=10))


def test_intervals_of_a_crossed_design_cover_the_true_mean_at_about_their_level() -> None:
    rng, covered = np.random.default_rng(2), 0
    crossed = [(("object", str(thing)), ("style", str(style))) for thing in range(12) for style in range(12)]
    weights = case_weights(crossed, resamples=300, seed=0)
    for _ in range(200):
        values = rng.normal(size=(12, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(12, 12))
        low, high = interval(values.ravel(), weights)
        covered += low <= 0 <= high
    assert 0.86 <= covered / 200 <= 0.99
