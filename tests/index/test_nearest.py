"""The nearest vectors: the search agrees with a full sort, with and without a filter."""

import numpy as np
import pytest

from autolora.index.copies import find_nearest


def expected_positions(scores: np.ndarray, k: int, mask: np.ndarray) -> list[int]:
    """Return the positions of the k highest scores of rows that pass, by a stable sort of all."""
    order = np.argsort(-scores, kind="stable")
    return [int(position) for position in order if mask[position]][:k]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("k", [0, 1, 10, 1000])
def test_search_agrees_with_a_sort(share: float, k: int) -> None:
    """Integers, so that many scores are equal: these are in the order of the rows."""
    rng = np.random.default_rng(k)
    vectors = rng.integers(-3, 4, (400, 8)).astype(np.float32)
    query = rng.integers(-3, 4, 8).astype(np.float32)
    mask = rng.random(400) < share
    positions, scores = find_nearest(vectors, query, k, mask)
    assert positions.tolist() == expected_positions(vectors @ query, k, mask)
    assert scores.tolist() == (vectors @ query)[positions].tolist()


def test_without_a_filter_all_rows_are_searched() -> None:
    vectors = np.eye(4, dtype=np.float32)
    positions, scores = find_nearest(vectors, np.array([0, 2, 3, 1], np.float32), 2)
    assert (positions.tolist(), scores.tolist()) == ([2, 1], [3, 2])
    assert len(find_nearest(vectors[:0], vectors[0], 2)[0]) == 0
