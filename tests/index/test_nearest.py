"""The nearest vectors of weights, with and without a filter; many threads open a copy."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autolora.index import store as index_store
from autolora.index.copies import NO_TEXT_MAP, Index, Rows, map_vectors, vectors_path


@pytest.fixture
def index() -> Index:
    """Return an index of five adapters with vectors of weights of any length, two of them alike, one of them zero."""
    vectors = np.array([[0, 2], [3, 3], [0, 0], [5, 0], [0, 1]], np.float32)
    return Index(
        digest="",
        weights_vectors=vectors,
        rows=Rows(pa.table({"sha256": [*"abcde"]})),
        encoder="",
        text_encoder="",
        text_map=NO_TEXT_MAP,
    )


def test_the_nearest_by_weights_are_those_of_the_largest_cosines(index: Index) -> None:
    positions, cosines = index.nearest_by_weights(np.array([0, 0.5], np.float32), 4)
    assert positions.tolist() == [0, 4, 1, 2], (
        "of equal ones the first; a vector without a direction has cosine 0"
    )
    assert cosines == pytest.approx([1, 1, 0.5**0.5, 0])


def test_others_than_those_that_pass_are_never_nearest(index: Index) -> None:
    mask = np.array([False, True, False, True, True])
    positions, cosines = index.nearest_by_weights(np.array([0, 1], np.float32), 9, mask)
    assert positions.tolist() == [4, 1, 3] and cosines == pytest.approx([1, 0.5**0.5, 0])
    assert index.nearest_by_weights(np.array([0, 1], np.float32), 0, mask)[0].tolist() == []


def test_threads_open_a_copy_at_once(tmp_path: Path) -> None:
    """Parsing in two threads at once fails in Python before 3.11.8, if one is interrupted by the garbage collector."""
    np.save(vectors_path(tmp_path, index_store.WEIGHTS_VECTOR), np.eye(4, dtype=np.float32))
    threshold = gc.get_threshold()

    def interrupt(*_: object) -> None:
        time.sleep(0)

    gc.callbacks.append(interrupt)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(4) as pool:
            opened = [*pool.map(lambda _: map_vectors(tmp_path, index_store.WEIGHTS_VECTOR), range(200))]
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(interrupt)
    assert all(vectors.shape == (4, 4) for vectors in opened)
