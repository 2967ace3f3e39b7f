"""The retrieval benchmark on synthetic vectors whose relevant adapters are known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autolora.matching.hybrid import CaptionRule
from autolora.metrics.benchmark import (
    Benchmark,
    EmbeddedCaption,
    Query,
    relevant_by_level,
    sum_captions,
)
from autolora.metrics.comparison import compare_methods
from autolora.metrics.methods import encoder_scores, hybrid_scores
from autolora.params import EvaluationParams
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1, 3), bootstrap=300, seed=0, themes=None)
ALL = slice(None)


def tables(benchmark: Benchmark) -> dict[str, Any]:
    """Return level -> tables of all methods."""
    return compare_methods(benchmark, PARAMS)


def test_good_encoder_beats_chance_by_more_than_its_interval() -> None:
    levels = tables(synthetic_benchmark())
    encoder = levels["theme"]["methods"]["encoder"]["R@1"]
    chance = levels["theme"]["methods"]["random"]["R@1"]
    assert encoder["value"] > 0.95
    assert chance["value"] == pytest.approx(3 / 12)
    assert encoder["low"] > chance["high"]
    assert (encoder["n"], encoder["clusters"]) == (24, 6)
    assert levels["adapter"]["methods"]["random"]["R@1"]["value"] == pytest.approx(1 / 12)


def test_random_encoder_does_not_beat_chance() -> None:
    methods = tables(synthetic_benchmark(noise=50.0))["adapter"]["methods"]
    assert methods["encoder"]["R@1"]["low"] <= methods["random"]["R@1"]["value"]


def test_query_about_an_adapter_without_a_theme_belongs_to_no_theme_level() -> None:
    benchmark = synthetic_benchmark()
    benchmark.themes.pop(benchmark.queries[0].adapters[0])
    relevant = relevant_by_level(benchmark)
    assert {level: len(groups[0]) for level, groups in relevant.items()} == {"adapter": 1, "theme": 0}
    numbers = {level: table["methods"]["encoder"]["MRR"]["n"] for level, table in tables(benchmark).items()}
    assert numbers == {"adapter": 24, "theme": 20}, "four queries are about it"


def test_no_theme_level_without_judgments() -> None:
    assert set(tables(synthetic_benchmark(judged=False))) == {"adapter"}


def test_hybrid_excludes_captions_of_the_described_rendering() -> None:
    captions: list[EmbeddedCaption] = []
    benchmark = synthetic_benchmark(noise=0.3, is_captioned=lambda caption: not captions.append(caption))
    benchmark = replace(
        benchmark,
        adapter_vectors=0.1 * benchmark.adapter_vectors,
        rule=CaptionRule(np.zeros(benchmark.adapter_vectors.shape[1]), margin=-3.0),
    )
    query, query_vector = benchmark.queries[0], benchmark.query_vectors[0]

    def expected(adapter: int, excluded: str) -> float:
        own = [c for c in captions if c.adapter == adapter and c.image != excluded]
        mean = np.mean([c.vector for c in own], axis=0)
        count = len({c.image for c in own})
        vector = count * mean / np.linalg.norm(mean) + 10 * benchmark.adapter_vectors[adapter]
        return float(query_vector @ vector / np.linalg.norm(vector))

    scores = hybrid_scores(benchmark)(ALL)[0]
    assert scores[0] == pytest.approx(expected(0, query.image))
    assert scores[1] == pytest.approx(expected(1, ""))


def test_hybrid_of_captions_that_contradict_the_weights_is_the_encoder() -> None:
    benchmark = synthetic_benchmark(noise=0.3)
    benchmark = replace(benchmark, rule=CaptionRule(np.zeros(benchmark.adapter_vectors.shape[1]), margin=3.0))
    assert np.allclose(hybrid_scores(benchmark)(ALL), encoder_scores(benchmark)(ALL))
    methods = tables(benchmark)["theme"]["methods"]
    assert methods["hybrid"] == methods["encoder"]


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
