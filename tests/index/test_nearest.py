"""The nearest vectors: exact search agrees with a full sort, and lists miss few, with and without a filter."""

from pathlib import Path

import numpy as np
import pytest

from autolora.index import inverted_lists
from autolora.index.inverted_lists import InvertedLists, build_lists, read_lists, write_lists
from autolora.index.nearest import find_nearest


def expected_positions(scores: np.ndarray, k: int, mask: np.ndarray) -> list[int]:
    """Return the positions of the k highest scores of rows that pass, by a stable sort of all."""
    order = np.argsort(-scores, kind="stable")
    return [int(position) for position in order if mask[position]][:k]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("k", [0, 1, 10, 1000])
def test_exact_search_agrees_with_a_sort(share: float, k: int) -> None:
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


NUM_VECTORS, WIDTH, NUM_THEMES = 20_000, 32, 100
Listed = tuple[np.ndarray, InvertedLists]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors scaled to length 1."""
    scaled: np.ndarray = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture(scope="module")
def listed() -> Listed:
    """Return vectors around themes, sorted by their lists."""
    rng = np.random.default_rng(0)
    themes = rng.normal(size=(NUM_THEMES, WIDTH))
    vectors = unit(
        themes[rng.integers(NUM_THEMES, size=NUM_VECTORS)] + 0.6 * rng.normal(size=(NUM_VECTORS, WIDTH))
    )
    order, lists = build_lists(vectors)
    assert sorted(order.tolist()) == list(range(NUM_VECTORS))
    return vectors[order], lists


def test_each_vector_is_in_the_list_of_its_nearest_centroid(listed: Listed) -> None:
    vectors, lists = listed
    nearest = (vectors @ lists.centroids.T).argmax(axis=1)
    starts = lists.starts.tolist()
    assert (starts[0], starts[-1], len(starts)) == (0, NUM_VECTORS, len(lists.centroids) + 1)
    assert nearest.tolist() == [
        number for number in range(len(lists.centroids)) for _ in range(starts[number], starts[number + 1])
    ]
    assert np.allclose(np.linalg.norm(lists.centroids, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("share", [None, 0.6, 0.9])
def test_lists_miss_few_of_the_nearest_vectors_and_compare_a_part(
    listed: Listed, share: float | None
) -> None:
    vectors, lists = listed
    rng = np.random.default_rng(1)
    mask = None if share is None else rng.random(NUM_VECTORS) < share
    found = compared = 0
    for query in unit(rng.choice(vectors, 100) + 0.2 * rng.normal(size=(100, WIDTH))):
        expected, _ = find_nearest(vectors, query, 10, mask)
        positions, scores = find_nearest(vectors, query, 10, mask, lists)
        assert np.allclose(scores, vectors[positions] @ query, atol=1e-6)
        assert mask is None or mask[positions].all()
        found += len({*expected.tolist()} & {*positions.tolist()})
        compared += sum(stop - start for start, stop in lists.choose(query, 10, mask))
    assert found >= 0.98 * 1000
    assert compared < 0.8 * 100 * NUM_VECTORS


@pytest.mark.parametrize("passing", [0, 1, 9, 10, 100])
def test_k_are_found_if_k_pass_the_filter_wherever_they_lie(listed: Listed, passing: int) -> None:
    """The rows that pass are those farthest from the query."""
    vectors, lists = listed
    query = vectors[7]
    mask = np.zeros(NUM_VECTORS, bool)
    mask[np.argsort(vectors @ query)[:passing]] = True
    positions, _ = find_nearest(vectors, query, 10, mask, lists)
    assert positions.tolist() == expected_positions(vectors @ query, 10, mask)
    assert len(positions) == min(passing, 10)


def test_lists_far_from_the_query_are_read_if_only_their_rows_pass(listed: Listed) -> None:
    vectors, lists = listed
    far = np.argsort(lists.centroids @ vectors[7])[: len(lists.centroids) * 2 // 3]
    mask = np.zeros(NUM_VECTORS, bool)
    for number in far:
        mask[lists.starts[number] : lists.starts[number + 1]] = True
    assert mask.sum() > inverted_lists.MAX_EXACT
    assert len(find_nearest(vectors, vectors[7], 10, mask, lists)[0]) == 10


def test_all_rows_are_returned_if_all_are_wanted(listed: Listed) -> None:
    vectors, lists = listed
    positions, _ = find_nearest(vectors, vectors[7], NUM_VECTORS, None, lists)
    assert sorted(positions.tolist()) == list(range(NUM_VECTORS))


def test_lists_are_the_same_in_each_run_and_read_as_written(tmp_path: Path, listed: Listed) -> None:
    vectors, _ = listed
    (first_order, first), (second_order, second) = (build_lists(vectors[:2000]) for _ in range(2))
    assert np.array_equal(first_order, second_order) and np.array_equal(first.centroids, second.centroids)
    assert read_lists(tmp_path) is None
    write_lists(tmp_path, first)
    stored = read_lists(tmp_path)
    assert stored is not None
    assert np.array_equal(stored.centroids, first.centroids) and np.array_equal(stored.starts, first.starts)
    (tmp_path / inverted_lists.FILE).write_bytes(b"{")
    with pytest.raises(ValueError, match="is not valid"):
        read_lists(tmp_path)
