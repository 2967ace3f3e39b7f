"""metrics/plots and the summary: their content, and that DVC reads what dvc.yaml names."""

import csv
import datetime
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml

from autolora.evaluation.plots import write_plots
from autolora.evaluation.store import plots_folder
from autolora.matching.relevance import Relevance
from autolora.metrics.benchmark import Benchmark
from autolora.metrics.summary import Headline, update
from tests.support.synthetic_benchmark import synthetic_benchmark

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CERTAIN_ABOVE_HALF = Relevance(np.array([[40.0, 0.0, -20.0]] * 2))
DAY = datetime.date(2026, 1, 1)


def columns_of(benchmark: Benchmark) -> pa.Table:
    """Return the index columns of a benchmark whose second half was first seen a day later."""
    count = len(benchmark.adapters)
    days = [DAY + datetime.timedelta(days=2 * number // count) for number in range(count)]
    return pa.table(
        {"first_seen": pa.array(days, pa.date32()), "uses_captions": pa.array([None] * count, pa.bool_())}
    )


def read(root: Path, name: str) -> list[dict[str, float]]:
    """Return the rows of a table; DVC's templates draw numbers alone."""
    with (plots_folder(root) / f"{name}.csv").open() as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    benchmark = synthetic_benchmark()
    write_plots(root, benchmark, columns_of(benchmark), CERTAIN_ABOVE_HALF)
    return root


def test_recall_grows_with_k_and_finds_every_clear_theme(root: Path) -> None:
    rows = read(root, "recall")
    assert [row["k"] for row in rows] == list(range(1, 11))
    recalls = [row["recall"] for row in rows]
    assert recalls == sorted(recalls) and recalls[0] > 0.95


def test_reliability_compares_stated_with_right_hits(root: Path) -> None:
    low, high = read(root, "reliability")[0], read(root, "reliability")[-1]
    assert (low["right"], high["right"]) == (0.0, 1.0)
    assert low["stated"] < 0.1 and high["stated"] > 0.9
    assert sum(row["hits"] for row in read(root, "reliability")) == 24 * 10


def test_similarity_separates_right_hits_from_others(root: Path) -> None:
    rows = read(root, "similarity")
    assert sum(row["right"] for row in rows) == pytest.approx(1, abs=1e-4)
    assert sum(row["others"] for row in rows) == pytest.approx(1, abs=1e-4)
    assert max(row["cosine"] for row in rows if row["others"]) < min(
        row["cosine"] for row in rows if row["right"]
    )


def test_pool_size_counts_up(root: Path) -> None:
    assert read(root, "pool_size") == [
        {"days": 0, "adapters": 6},
        {"days": 1, "adapters": 12},
    ]


def test_an_imported_encoder_has_no_reliability(tmp_path: Path) -> None:
    benchmark = synthetic_benchmark(judged=False)
    write_plots(tmp_path, benchmark, columns_of(benchmark), None)
    assert read(tmp_path, "reliability") == []
    assert len(read(tmp_path, "recall")) == 10


def test_dvc_compares_the_summary_and_draws_the_plots(root: Path, tmp_path: Path) -> None:
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    assert definition["metrics"] == ["metrics/summary.json"]
    shutil.copytree(root / "metrics", tmp_path / "metrics")
    row = Headline(name="bench.cold_search_seconds", value=0.123, n=3)
    update(tmp_path, "measure", DAY, [row])
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for command in (["init", "--no-scm", "--quiet"], ["metrics", "show"], ["plots", "show", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if command[0] == "metrics":
            assert "bench.cold_search_seconds" in done.stdout and "0.123" in done.stdout
    plots = yaml.safe_load(done.stdout)["data"]
    assert [name for name in plots if plots[name]] == [next(iter(plot)) for plot in definition["plots"]]
