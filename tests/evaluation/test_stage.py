"""The stage `evaluation`: what it writes, and its queries and numbers on a real index of random adapters."""

import datetime
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autolora import models
from autolora.dataset import store as dataset
from autolora.dataset.families import Split
from autolora.errors import MissingArtifact
from autolora.evaluation import stage as evaluation
from autolora.evaluation.benchmark import read_renderings, unseen_queries
from autolora.evaluation.store import SEARCH, metrics_path, read_report, recall_of
from autolora.metrics.benchmark import Benchmark, relevant_by_level
from autolora.metrics.comparison import ranks_by_level
from autolora.metrics.methods import caption_centroid_scores, weights_scores
from autolora.metrics.summary import read_numbers
from autolora.params import EvaluationParams, ModelsParams, Params
from autolora.report.page import assemble
from autolora.storage.incremental import read_digest
from tests.support import small_root
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1, 3), bootstrap=300, seed=0, themes=None)
TODAY = datetime.date(2026, 1, 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    themes = small_root.build(root, small_root.base(root))
    (root / "themes.json").write_text(json.dumps({sha256: {"theme": t} for sha256, t in themes.items()}))
    return root


@pytest.fixture(scope="module")
def base(root: Path) -> ModelsParams:
    return small_root.base(root)


def params_of(base: ModelsParams, section: EvaluationParams) -> Params:
    """Return params with this base model and section `evaluation`."""
    return replace(small_root.params(), models=base, evaluation=section)


def measured(benchmark: Benchmark) -> Mapping[str, Any]:
    """Return the numbers of a benchmark in which the search ranks as the caption centroid."""
    relevant = relevant_by_level(benchmark)
    methods = {SEARCH: caption_centroid_scores(benchmark), "weights": weights_scores(benchmark)}
    ranks = {name: ranks_by_level(benchmark, scores, relevant) for name, scores in methods.items()}
    return evaluation.measure(benchmark, ranks, PARAMS)


def write(root: Path, benchmark: Benchmark, today: datetime.date = TODAY) -> str:
    """Write the numbers of a benchmark."""
    inputs = {"index": "i" * 64}
    return evaluation.write(root, measured(benchmark), benchmark.themes, PARAMS, inputs, "best", today)


def test_second_run_with_equal_inputs_writes_nothing(tmp_path: Path) -> None:
    benchmark = synthetic_benchmark()
    digest = write(tmp_path, benchmark)
    assert read_digest(tmp_path, "evaluation")["sha256"] == digest
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted(str(path.relative_to(tmp_path)) for path in files) == [
        "data/evaluation/report.json",
        "digests/evaluation.json",
        "metrics/details.json",
        "metrics/evaluation.json",
        "metrics/summary.json",
    ]
    later = TODAY + datetime.timedelta(days=1)
    assert write(tmp_path, benchmark, later) == digest
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    numbers = json.loads(metrics_path(tmp_path).read_text())
    assert numbers["levels"]["theme"]["methods"]["weights"]["R@1"]["value"] > 0.95


def test_numbers_are_those_of_the_report(tmp_path: Path) -> None:
    write(tmp_path, synthetic_benchmark())
    rows, report = read_numbers(tmp_path), read_report(tmp_path)
    assert report is not None
    assert set(rows) == {
        f"retrieval.{method}{level}_r_at_1_unseen"
        for method in ("", "weights_", "random_")
        for level in ("adapter", "theme")
    }
    estimate = report["levels"]["theme"]["methods"][SEARCH]["R@1"]
    row = rows["retrieval.theme_r_at_1_unseen"]
    assert {name: row[name] for name in ("value", "low", "high", "n")} == {
        name: estimate[name] for name in ("value", "low", "high", "n")
    }
    assert (row["better"], row["preset"], row["date"]) == ("higher", "best", "2026-01-01")
    assert row["command"] == "python -m flows.evaluation"


def test_no_unseen_adapter_is_not_an_error(tmp_path: Path) -> None:
    full = synthetic_benchmark()
    empty = replace(full, queries=(), query_vectors=full.query_vectors[:0])
    write(tmp_path, empty)
    report = read_report(tmp_path)
    assert report is not None
    assert (report["levels"], report["queries"]) == ({}, 0)
    assert read_numbers(tmp_path) == {}


def test_recall_is_that_of_the_search_by_theme_if_themes_are_judged() -> None:
    row = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 24, "clusters": 6}
    of_themes = {"search": {"R@1": row | {"value": 0.8}}, "weights": {"R@1": row}}
    levels = {"adapter": {"methods": {"search": {"R@1": row}}}}
    of_themes["random"] = {"R@1": row | {"value": 0.1}}
    numbers = {"levels": levels | {"theme": {"methods": of_themes}}}
    recall = recall_of(numbers)
    assert recall is not None
    assert (recall.value, recall.chance, recall.queries, recall.level) == (0.8, 0.1, 24, "theme")
    by_weights = recall_of(numbers, "weights")
    assert by_weights is not None and by_weights.value == 0.5
    unjudged = recall_of({"levels": levels})
    assert unjudged is not None and (unjudged.level, unjudged.chance) == ("adapter", None)
    assert recall_of({}) is None


def test_no_report_before_the_first_run(tmp_path: Path) -> None:
    assert read_report(tmp_path) is None


@pytest.mark.slow
def test_evaluates_a_real_index(root: Path, base: ModelsParams) -> None:
    section = EvaluationParams(split="test", ks=(1, 3), bootstrap=100, seed=0, themes="themes.json")
    text_encoder, params = models.load_text_encoder(base), params_of(base, section)
    digest = evaluation.evaluate(root, params, text_encoder, None, TODAY)
    assert digest == evaluation.evaluate(root, params, text_encoder, None, TODAY)
    report = read_report(root)
    assert report is not None
    assert report["indexed_adapters"] == 12
    assert report["queried_adapters"] >= 4
    assert report["queries"] == 4 * report["queried_adapters"]
    assert "unmeasured" not in report
    methods = report["levels"]["theme"]["methods"]
    assert set(methods) == {
        "search", "caption centroid", "weights", "random",
    }  # fmt: skip
    assert methods["random"]["R@1"]["value"] == pytest.approx(3 / 12)
    assert methods["search"] == methods["weights"], "without a language"
    absent = params_of(base, replace(section, themes="none.json"))
    with pytest.raises(MissingArtifact, match=r"evaluation\.themes"):
        evaluation.evaluate(root, absent, text_encoder, None, TODAY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("captions", "split", "reason"),
    [
        (True, "validation", "of the 12 adapters in the index 0 are of the split validation"),
        (
            False,
            "test",
            "of the 12 adapters in the index 7 are of the split test, but none of these has a captioned",
        ),
    ],
)
def test_split_without_queries_is_said_in_the_log_the_report_and_the_page(
    root: Path, base: ModelsParams, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    captions: bool, split: Split, reason: str,
) -> None:  # fmt: skip
    if not captions:
        monkeypatch.setattr(dataset, "captions_by_image", lambda root: {})
        monkeypatch.setattr(dataset, "prompts", lambda root: [])
    section = EvaluationParams(split=split, ks=(1,), bootstrap=50, seed=0, themes=None)
    evaluation.evaluate(root, params_of(base, section), models.load_text_encoder(base), None, TODAY)
    report = read_report(root)
    assert report is not None and report["queries"] == 0 and reason in report["unmeasured"]
    assert caplog.messages.count(report["unmeasured"]) == 1
    assert report["unmeasured"] in assemble(root).read_text()
    numbers = json.loads(metrics_path(root).read_text())
    assert numbers["levels"] == {}
    assert not [path for path in (root / "metrics").iterdir() if "nan" in path.read_text().lower()]


def test_rendering_of_a_training_adapter_gives_no_query(root: Path) -> None:
    training = next(row for row in dataset.training_lock(root).rows if row.split == "train")
    prompts = {prompt.image for prompt in dataset.prompts(root)}
    queries = unseen_queries(root, {"a": tuple(prompts), "b": training.renderings}, "test")
    assert {query.image for query in queries} == prompts - set(training.renderings)
    assert all(query.adapters == ("a",) for query in queries)


def test_queries_beyond_the_limit_are_a_sample_that_new_adapters_hardly_change(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderings = read_renderings(root)
    every = unseen_queries(root, renderings, "test")
    monkeypatch.setattr("autolora.evaluation.benchmark.MAX_QUERIES", len(every) // 2)
    chosen = unseen_queries(root, renderings, "test")
    assert len(chosen) == len(every) // 2 and set(chosen) < set(every)
    new = chosen[0].adapters[0]
    before = unseen_queries(root, {key: images for key, images in renderings.items() if key != new}, "test")
    about_others = {query for query in chosen if query.adapters != (new,)}
    assert about_others <= set(before), "an addition replaces no more queries than it brings"


@pytest.mark.slow
def test_page_of_a_real_root(root: Path, base: ModelsParams) -> None:
    section = EvaluationParams(split="test", ks=(1,), bootstrap=50, seed=0, themes=None)
    evaluation.evaluate(root, params_of(base, section), models.load_text_encoder(base), None, TODAY)
    text = assemble(root).read_text()
    assert "of searches show the very adapter that the query describes first" in text
    assert text.count('class="image"') == 8
