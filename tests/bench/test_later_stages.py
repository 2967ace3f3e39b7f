"""The pool that bench.later_stages measures, with few adapters: every step runs on it and finds the new adapters."""

from pathlib import Path

import numpy as np
import pytest

from autolora.dataset import store as dataset
from autolora.evaluation.store import read_report
from autolora.index import store as index
from bench.later_stages import STEPS
from bench.table_pool import TablePool, adapter_sha256


@pytest.mark.slow
def test_every_step_runs_and_embeds_new_adapters_only(tmp_path: Path) -> None:
    pool = TablePool(tmp_path, locked=10)
    pool.build(12)
    _, vectors = index.read_vectors(tmp_path)
    for step in STEPS.values():
        step(tmp_path)
    report = read_report(tmp_path)
    assert report is not None
    assert (report["indexed_adapters"], report["queries"], report["queried_adapters"]) == (12, 12, 2)
    pool.add(12, 14)
    for step in STEPS.values():
        step(tmp_path)
    names, after = index.read_vectors(tmp_path)
    old = [row for row, name in enumerate(names) if name not in {adapter_sha256(12), adapter_sha256(13)}]
    assert np.array_equal(after[old], vectors)
    assert np.allclose(np.linalg.norm(after, axis=1), 1, atol=1e-5)
    assert len(dataset.rows(tmp_path, "renderings")) == 28
    assert (tmp_path / "reports" / "index.html").read_text().count("data:image/webp") == 8
