"""The nearest vectors: the search agrees with a full sort, with and without a filter; many threads open a copy."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from autolora.index.copies import find_nearest, map_vectors, vectors_path


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


def test_threads_open_a_copy_at_once(tmp_path: Path) -> None:
    """Parsing in two threads at once fails in Python before 3.11.8, if one is interrupted by the garbage collector."""
    np.save(vectors_path(tmp_path, "vector"), np.eye(4, dtype=np.float32))
    threshold = gc.get_threshold()

    def interrupt(*_: object) -> None:
        time.sleep(0)

    gc.callbacks.append(interrupt)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as pool:
            opened = [*pool.map(lambda _: map_vectors(tmp_path, "vector"), range(200))]
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(interrupt)
    assert all(vectors.shape == (4, 4) for vectors in opened)
