"""Numbers as the page prints them."""

import pytest

from autolora.report.charts import make_plot
from autolora.report.decimals import decimal, printed, tick


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.256, False, "0.26"), (-0.256, False, "−0.26"), (0.256, True, "+0.26"), (-0.256, True, "−0.26"),
     (0.001, True, "0.00"), (-0.001, True, "0.00"), (-0.001, False, "0.00"), (1, False, "1.00")],
)  # fmt: skip
def test_numbers_have_two_decimals_and_zero_has_no_sign(value: float, signed: bool, text: str) -> None:
    assert decimal(value, signed) == text


def test_ends_of_axes_are_short() -> None:
    assert (tick(-0.25), tick(1.0), tick(0.0)) == ("−0.25", "1", "0")


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.004, 0.2, ""),
        (0.006, 0.2, "better"),
        (-0.2, -0.004, ""),
        (-0.2, -0.006, "worse"),
        (-0.001, -0.0004, ""),
    ],
)
def test_a_difference_is_marked_if_its_printed_interval_excludes_zero(
    low: float, high: float, verdict: str
) -> None:
    row = {"value": (low + high) / 2, "low": low, "high": high}
    plot = make_plot({"a − b": {"both shown": row}}, "both shown", (), is_difference=True)
    assert plot and plot.lines[0].verdict == verdict
    assert bool(verdict) == (printed(low) > 0 or printed(high) < 0)


@pytest.mark.parametrize(
    ("bounds", "axis"),
    [
        ((0.0, 0.0), (0.0, 1.0)),
        ((0.0, 0.2), (0.0, 0.21)),
        ((0.9, 1.0), (0.0, 1.0)),
        ((0.1, 0.2), (0.095, 0.205)),
    ],
)
def test_an_axis_of_shares_stays_between_0_and_1(
    bounds: tuple[float, float], axis: tuple[float, float]
) -> None:
    row = {"value": sum(bounds) / 2, "low": bounds[0], "high": bounds[1]}
    plot = make_plot({"direct": {"both shown": row}}, "both shown", (), is_difference=False)
    assert plot and (plot.low, plot.high) == pytest.approx(axis)
