"""bench.paper.results: win rates, and the numbers of different sets."""

import numpy as np

from bench.paper.results import count_different, win_rate


def test_near_values_tie() -> None:
    ours, theirs = np.array([0.5, 0.5, 0.5, 0.5, np.nan]), np.array([0.4, 0.495, 0.5, 0.8, 0.1])
    rate = win_rate(ours, theirs, tie=0.01)
    assert (rate.wins, rate.ties, rate.losses) == (0.25, 0.5, 0.25)


def test_a_set_counts_once_in_whatever_order_it_is_drawn() -> None:
    cases = [tuple(("adapter", name) for name in names) for names in ("ab", "ba", "ac")]
    assert count_different(cases) == {"set": 2, "adapter": 3}
    pair = (("object", "cat"), ("style", "crayon"))
    assert count_different([pair, pair]) == {"set": 1, "object": 1, "style": 1}
    assert count_different([(("prompt", "a cat"),), (("prompt", "a dog"),)]) == {"prompt": 2}
