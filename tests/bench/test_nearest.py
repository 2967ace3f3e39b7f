"""The comparison of nearest-neighbor searches on a small index."""

from pathlib import Path

import numpy as np
import pytest

from autolora.index import copies
from bench import nearest, synthetic_index

SIZE, QUERIES = 5000, 8


@pytest.mark.slow
def test_ways_are_compared_with_an_exact_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (nearest, synthetic_index):
        monkeypatch.setattr(module, "WIDTH", 32)
    monkeypatch.setattr(synthetic_index, "NUM_THEMES", 50)
    monkeypatch.setattr(nearest, "NUM_QUERIES", QUERIES)
    rows = {row.name: row for row in nearest.measure(SIZE, tmp_path)}
    filters = ("", "_filter_1", "_filter_10", "_filter_50")
    assert set(rows) == {"bench.nearest_5k_open_seconds"} | {
        f"bench.nearest_5k{name}_{number}" for name in filters for number in ("p50_ms", "p99_ms")
    }
    lines = [line for line in capsys.readouterr().out.splitlines() if "recall" in line]
    for name in ("NumPy ", "ours ", "LanceDB "):
        assert [line.split()[-1] for line in lines if line.startswith(name)] == ["1.0000"] * 4
    assert all(float(line.split()[-1]) > 0.9 for line in lines if line.startswith("LanceDB, IVF"))


def test_filters_let_the_stated_share_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic_index, "WIDTH", 8)
    vectors = synthetic_index.draw_vectors(200)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    synthetic_index.write_synthetic_copy(tmp_path, vectors)
    index = copies.open_copy(tmp_path, "synthetic")
    assert index.mask([synthetic_index.condition(index, 0.1) or "FALSE"]).sum() == 20
    assert synthetic_index.condition(index, 1.0) is None
