"""Evaluation on fabricated vectors whose right answers are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from autolora.evaluation import stage as evaluation
from autolora.metrics.benchmark import (
    Benchmark,
    Query,
    centroid_scores,
    compare,
    encoder_scores,
    gallery,
    health,
    right_answers,
)
from autolora.params import EvaluationParams
from autolora.storage.incremental import read_digest

PARAMS = EvaluationParams(ks=(1, 3), bootstrap=300, seed=0, themes=None)
THEMES = ("cat", "mosaic", "neon", "sand")


def fabricate(noise: float = 0.05, authors: int = 3, judged: bool = True, seed: int = 0) -> Benchmark:
    """Draw adapters around theme directions; two renderings, four captions; every second asks."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(16, len(THEMES))))[0].T
    adapters, vectors, captions, queries, embedded, themes = [], [], [], [], [], {}
    for number in range(len(THEMES) * authors):
        theme = number % len(THEMES)
        sha256 = f"{number:064x}"
        adapters.append(sha256)
        vectors.append(near(directions[theme], noise, rng))
        themes[sha256] = THEMES[theme]
        for picture in range(2):
            image = f"{number}-{picture}".ljust(64, "0")
            for length in ("short", "long"):
                vector = near(directions[theme], noise, rng)
                captions.append((number, image, vector))
                if number % 2 == 0:
                    queries.append(Query(f"{length} {THEMES[theme]} {picture}", image, (sha256,)))
                    embedded.append(vector)
    return Benchmark(
        adapters=tuple(adapters),
        vectors=np.stack(vectors),
        captions=tuple(captions),
        queries=tuple(queries),
        embedded=np.stack(embedded),
        themes=themes if judged else {},
    )


def near(direction: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    vector = direction + noise * rng.normal(size=direction.shape)
    return vector / np.linalg.norm(vector)


def test_a_good_encoder_beats_chance_by_its_interval() -> None:
    levels = compare(fabricate(), PARAMS)
    ours = levels["theme"]["methods"]["encoder"]["R@1"]
    chance = levels["theme"]["methods"]["random"]["R@1"]
    assert ours["value"] > 0.95
    assert chance["value"] == pytest.approx(3 / 12)
    assert levels["theme"]["encoder minus"]["random"]["R@1"]["low"] > 0
    assert (ours["n"], ours["clusters"]) == (24, 6)
    assert levels["adapter"]["methods"]["random"]["R@1"]["value"] == pytest.approx(1 / 12)


def test_a_random_encoder_does_not() -> None:
    benchmark = fabricate(noise=50.0)
    difference = compare(benchmark, PARAMS)["adapter"]["encoder minus"]["random"]["R@1"]
    assert difference["low"] <= 0


def test_without_judgments_there_is_no_theme_level() -> None:
    assert set(compare(fabricate(judged=False), PARAMS)) == {"adapter"}


def test_the_centroid_does_not_see_captions_of_the_querys_own_rendering() -> None:
    benchmark = fabricate(noise=0.3)
    query = benchmark.queries[0]
    own = [vector for place, image, vector in benchmark.captions if place == 0 and image != query.image]
    mean = np.mean(own, axis=0)
    expected = benchmark.embedded[0] @ mean / np.linalg.norm(mean)
    scores = centroid_scores(benchmark)
    assert scores[0, 0] == pytest.approx(expected)
    others = np.mean([vector for place, _, vector in benchmark.captions if place == 1], axis=0)
    assert scores[0, 1] == pytest.approx(benchmark.embedded[0] @ others / np.linalg.norm(others))


def test_a_query_whose_adapter_has_no_other_caption_does_not_count_for_the_centroid() -> None:
    full = fabricate()
    lonely = full.queries[0]
    captions = tuple(c for c in full.captions if c[0] != 0 or c[1] == lonely.image)
    benchmark = Benchmark(full.adapters, full.vectors, captions, full.queries, full.embedded, full.themes)
    assert np.isnan(centroid_scores(benchmark)[0]).all()
    tables = compare(benchmark, PARAMS)["theme"]
    assert tables["methods"]["encoder"]["MRR"]["n"] == 24
    assert tables["methods"]["caption centroid"]["MRR"]["n"] == 22
    assert tables["encoder minus"]["caption centroid"]["MRR"]["n"] == 22


def test_an_adapter_without_captions_is_never_the_centroids_best() -> None:
    full = fabricate()
    captions = tuple(c for c in full.captions if c[0] != 1)
    benchmark = Benchmark(full.adapters, full.vectors, captions, full.queries, full.embedded, full.themes)
    assert (centroid_scores(benchmark)[:, 1] == -1).all()


def test_a_rendering_of_two_adapters_has_two_right_answers() -> None:
    full = fabricate()
    first = full.queries[0]
    shared = Query(first.text, first.image, (full.adapters[0], full.adapters[5]))
    queries = (shared, *full.queries[1:])
    levels = right_answers(
        Benchmark(full.adapters, full.vectors, full.captions, queries, full.embedded, full.themes)
    )
    assert np.flatnonzero(levels["adapter"][0]).tolist() == [0, 5]
    assert np.flatnonzero(levels["theme"][0]).tolist() == [0, 1, 4, 5, 8, 9]


def test_the_gallery_shows_each_theme_once_with_three_hits() -> None:
    shown = gallery(fabricate(), seed=0)
    assert [item["themes"] for item in shown] == [["cat"], ["neon"]]
    assert all(len(item["hits"]) == 3 for item in shown)
    assert all(hit["right theme"] for item in shown for hit in item["hits"])
    assert gallery(fabricate(), seed=0) == shown


def test_health_names_the_busiest_adapter() -> None:
    benchmark = fabricate()
    found = health(benchmark, (1, 3))
    assert found["k"] == 3
    assert found["busiest"] in benchmark.adapters
    assert 0 < found["never"] < 1
    assert encoder_scores(benchmark).shape == (24, 12)


def test_the_stage_writes_its_half_and_then_nothing(tmp_path: Path) -> None:
    benchmark, facts = fabricate(), {"index": "i" * 64}
    digest = evaluation.write(tmp_path, benchmark, PARAMS, facts)
    assert read_digest(tmp_path, "evaluation")["sha256"] == digest
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert {path.name for path in files} == {"report.json", "evaluation.json"}
    assert len(files) == 3
    assert evaluation.write(tmp_path, benchmark, PARAMS, facts) == digest
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    numbers = json.loads((tmp_path / "metrics" / "evaluation.json").read_text())
    assert numbers["levels"]["theme"]["methods"]["encoder"]["R@1"]["value"] > 0.95


def test_no_unseen_adapter_is_no_failure(tmp_path: Path) -> None:
    full = fabricate()
    empty = Benchmark(full.adapters, full.vectors, full.captions, (), full.embedded[:0], full.themes)
    evaluation.write(tmp_path, empty, PARAMS, {})
    report = json.loads((tmp_path / "data" / "evaluation" / "report.json").read_text())
    assert (report["levels"], report["queries"], report["gallery"]) == ({}, 0, [])
