"""The retrieval benchmark on synthetic vectors whose relevant adapters are known."""

from dataclasses import replace

import numpy as np
import pytest

from autolora.metrics.benchmark import (
    Query,
    caption_centroid_scores,
    compare_methods,
    encoder_scores,
    example_searches,
    index_health,
    relevant_by_level,
)
from autolora.params import EvaluationParams
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(ks=(1, 3), bootstrap=300, seed=0, themes=None)


def test_good_encoder_beats_chance_by_more_than_its_interval() -> None:
    levels = compare_methods(synthetic_benchmark(), PARAMS)
    encoder = levels["theme"]["methods"]["encoder"]["R@1"]
    chance = levels["theme"]["methods"]["random"]["R@1"]
    assert encoder["value"] > 0.95
    assert chance["value"] == pytest.approx(3 / 12)
    assert levels["theme"]["differences"]["encoder − random"]["R@1"]["low"] > 0
    assert (encoder["n"], encoder["clusters"]) == (24, 6)
    assert levels["adapter"]["methods"]["random"]["R@1"]["value"] == pytest.approx(1 / 12)


def test_random_encoder_does_not_beat_chance() -> None:
    levels = compare_methods(synthetic_benchmark(noise=50.0), PARAMS)
    assert levels["adapter"]["differences"]["encoder − random"]["R@1"]["low"] <= 0


def test_no_theme_level_without_judgments() -> None:
    assert set(compare_methods(synthetic_benchmark(judged=False), PARAMS)) == {"adapter"}


def test_centroid_excludes_captions_of_the_described_rendering() -> None:
    benchmark = synthetic_benchmark(noise=0.3)
    query, query_vector = benchmark.queries[0], benchmark.query_vectors[0]
    own = [c.vector for c in benchmark.captions if c.adapter == 0 and c.image != query.image]
    mean = np.mean(own, axis=0)
    scores = caption_centroid_scores(benchmark)
    assert scores[0, 0] == pytest.approx(query_vector @ mean / np.linalg.norm(mean))
    other = np.mean([c.vector for c in benchmark.captions if c.adapter == 1], axis=0)
    assert scores[0, 1] == pytest.approx(query_vector @ other / np.linalg.norm(other))


def test_centroid_skips_queries_whose_adapter_has_no_other_caption() -> None:
    full = synthetic_benchmark()
    image = full.queries[0].image
    benchmark = replace(full, captions=tuple(c for c in full.captions if c.adapter != 0 or c.image == image))
    assert np.isnan(caption_centroid_scores(benchmark)[0]).all()
    tables = compare_methods(benchmark, PARAMS)["theme"]
    assert tables["methods"]["encoder"]["MRR"]["n"] == 24
    assert tables["methods"]["caption centroid"]["MRR"]["n"] == 22
    assert tables["differences"]["encoder − caption centroid"]["MRR"]["n"] == 22


def test_centroid_ranks_adapters_without_captions_last() -> None:
    full = synthetic_benchmark()
    benchmark = replace(full, captions=tuple(c for c in full.captions if c.adapter != 1))
    assert (caption_centroid_scores(benchmark)[:, 1] == -1).all()


def test_rendering_of_two_adapters_has_two_relevant_adapters() -> None:
    full = synthetic_benchmark()
    first = full.queries[0]
    shared = Query(first.text, first.image, (full.adapters[0], full.adapters[5]))
    levels = relevant_by_level(replace(full, queries=(shared, *full.queries[1:])))
    assert np.flatnonzero(levels["adapter"][0]).tolist() == [0, 5]
    assert np.flatnonzero(levels["theme"][0]).tolist() == [0, 1, 4, 5, 8, 9]


def test_example_searches_hold_one_query_per_theme_with_three_hits() -> None:
    examples = example_searches(synthetic_benchmark(), seed=0)
    assert [example["themes"] for example in examples] == [["cat"], ["neon"]]
    assert all(len(example["hits"]) == 3 for example in examples)
    assert all(hit["same theme"] for example in examples for hit in example["hits"])
    assert example_searches(synthetic_benchmark(), seed=0) == examples


def test_index_health_names_the_most_retrieved_adapter() -> None:
    benchmark = synthetic_benchmark()
    health = index_health(benchmark, (1, 3))
    assert health["k"] == 3
    assert health["most_retrieved"] in benchmark.adapters
    assert 0 < health["never_retrieved"] < 1
    assert encoder_scores(benchmark).shape == (24, 12)
