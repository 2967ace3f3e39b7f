"""studies.paper.results: win rates."""

import numpy as np

from studies.paper.results import win_rate


def test_near_values_tie() -> None:
    ours, theirs = np.array([0.5, 0.5, 0.5, 0.5, np.nan]), np.array([0.4, 0.495, 0.5, 0.8, 0.1])
    rate = win_rate(ours, theirs, tie=0.01)
    assert (rate.wins, rate.ties, rate.losses) == (0.25, 0.5, 0.25)
