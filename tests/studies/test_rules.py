"""`python -m studies.rules`: the table and the rows of metrics/details.json."""

import numpy as np

from studies.rules import ANY_RANKS, Measured, headlines, to_markdown

CLUSTERS = ["a", "a", "b", "b"]


def measured(shown: list[float], seconds: float) -> Measured:
    return Measured(
        both_shown=np.array(shown),
        prompt_similarity=np.full(4, 0.5),
        draw_seconds=seconds,
        attach_seconds=0.1,
    )


ROWS = {"direct": measured([1, 0, 0, 0], 0.2), "velocity": measured([1, 1, 1, 0], 0.5)}


def test_methods_are_compared_with_the_plain_sum() -> None:
    lines = to_markdown(ROWS, CLUSTERS).splitlines()
    assert lines[2].startswith(
        "| direct | 0.25 [0.00, 0.50] | 0.00 [0.00, 0.00] | 0.50 [0.50, 0.50] | 0.200 | 1.00 |"
    )
    assert (
        lines[3].startswith("| velocity | 0.75 [0.50, 1.00] | 0.50 [0.50, 0.50] |") and "| 2.50 |" in lines[3]
    )


def test_rows_of_the_summary_have_values_and_differences() -> None:
    rows = {row.name: row for row in headlines(ROWS, CLUSTERS, "best")}
    assert rows["fusion.rules_both_shown_velocity"].value == 0.75
    assert rows["fusion.rules_both_shown_velocity_minus_direct"].value == 0.5
    assert rows["fusion.rules_both_shown_direct"].n == 4


def test_methods_that_need_equal_ranks_are_left_out() -> None:
    assert "ties" in ANY_RANKS and "ties_factors" not in ANY_RANKS
