"""The retrieval benchmark on synthetic vectors whose relevant adapters are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autolora.metrics.benchmark import (
    Benchmark,
    EmbeddedCaption,
    Query,
    relevant_by_level,
    sum_captions,
)
from autolora.metrics.comparison import compare_ranks, ranks_by_level
from autolora.metrics.methods import caption_centroid_scores, weights_scores
from autolora.params import EvaluationParams
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1, 3), bootstrap=300, seed=0, themes=None)
ALL = slice(None)


def tables(benchmark: Benchmark) -> dict[str, Any]:
    """Return level -> tables of the weights and of a random order."""
    relevant = relevant_by_level(benchmark)
    ranks = {"weights": ranks_by_level(benchmark, weights_scores(benchmark), relevant)}
    return compare_ranks(benchmark, ranks, relevant, PARAMS)


def test_good_weights_beat_chance_by_more_than_its_interval() -> None:
    levels = tables(synthetic_benchmark())
    weights = levels["theme"]["methods"]["weights"]["R@1"]
    chance = levels["theme"]["methods"]["random"]["R@1"]
    assert weights["value"] > 0.95
    assert chance["value"] == pytest.approx(3 / 12)
    assert weights["low"] > chance["high"]
    assert (weights["n"], weights["clusters"]) == (24, 6)
    assert levels["adapter"]["methods"]["random"]["R@1"]["value"] == pytest.approx(1 / 12)


def test_random_weights_do_not_beat_chance() -> None:
    methods = tables(synthetic_benchmark(noise=50.0))["adapter"]["methods"]
    assert methods["weights"]["R@1"]["low"] <= methods["random"]["R@1"]["value"]


def test_query_about_an_adapter_without_a_theme_belongs_to_no_theme_level() -> None:
    benchmark = synthetic_benchmark()
    benchmark.themes.pop(benchmark.queries[0].adapters[0])
    relevant = relevant_by_level(benchmark)
    assert {level: len(groups[0]) for level, groups in relevant.items()} == {"adapter": 1, "theme": 0}
    numbers = {level: table["methods"]["weights"]["MRR"]["n"] for level, table in tables(benchmark).items()}
    assert numbers == {"adapter": 24, "theme": 20}, "four queries are about it"


def test_no_theme_level_without_judgments() -> None:
    assert set(tables(synthetic_benchmark(judged=False))) == {"adapter"}


def test_centroid_excludes_captions_of_the_described_rendering() -> None:
    captions: list[EmbeddedCaption] = []
    benchmark = synthetic_benchmark(noise=0.3, is_captioned=lambda caption: not captions.append(caption))
    query, query_vector = benchmark.queries[0], benchmark.query_vectors[0]

    def expected(adapter: int, excluded: str) -> float:
        own = [c.vector for c in captions if c.adapter == adapter and c.image != excluded]
        mean = np.mean(own, axis=0)
        return float(query_vector @ mean / np.linalg.norm(mean))

    scores = caption_centroid_scores(benchmark)(ALL)
    assert scores[0, 0] == pytest.approx(expected(0, query.image))
    assert scores[0, 1] == pytest.approx(expected(1, ""))


def test_centroid_skips_queries_whose_adapter_has_no_other_caption() -> None:
    image = synthetic_benchmark().queries[0].image
    benchmark = synthetic_benchmark(is_captioned=lambda c: c.adapter != 0 or c.image == image)
    scores = caption_centroid_scores(benchmark)
    assert np.isnan(scores(ALL)[0]).all()
    ranks = ranks_by_level(benchmark, scores, relevant_by_level(benchmark))["theme"]
    assert np.isnan(ranks).sum() == 2 and len(ranks) == 24


def test_centroid_ranks_adapters_without_captions_last() -> None:
    benchmark = synthetic_benchmark(is_captioned=lambda c: c.adapter != 1)
    assert (caption_centroid_scores(benchmark)(ALL)[:, 1] == -1).all()


def test_weights_of_any_length_are_compared_by_their_direction() -> None:
    benchmark = synthetic_benchmark(noise=0.3)
    shorter = replace(benchmark, adapter_vectors=0.1 * benchmark.adapter_vectors)
    assert np.allclose(weights_scores(shorter)(ALL), weights_scores(benchmark)(ALL))


def test_rendering_of_two_adapters_has_two_relevant_adapters() -> None:
    full = synthetic_benchmark()
    first = full.queries[0]
    shared = Query(first.text, first.image, (full.adapters[0], full.adapters[5]))
    levels = relevant_by_level(replace(full, queries=(shared, *full.queries[1:])))
    assert sorted(levels["adapter"][0]) == [0, 5]
    assert sorted(levels["theme"][0]) == [0, 1, 4, 5, 8, 9]


def test_captions_of_a_rendering_are_summed_only_if_queries_describe_it() -> None:
    captions = [EmbeddedCaption(1, image, np.array([1.0, 2.0])) for image in ("a", "a", "b")]
    sums = sum_captions(captions, (2, 2), {"a"})
    assert sums.by_adapter.tolist() == [[0, 0], [3, 6]]
    assert {key: total.tolist() for key, total in sums.by_rendering.items()} == {(1, "a"): [2, 4]}
