"""bench.compact_encoder: a copy that changes nothing has no loss, and one that ranks otherwise has."""

from dataclasses import replace

import numpy as np
import pytest

from autolora.params import EvaluationParams
from bench import compact_encoder as compact
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1,), bootstrap=100, seed=0, themes=None)


def test_loss_is_that_of_the_same_queries() -> None:
    benchmark = synthetic_benchmark()
    clusters = [query.adapters[0] for query in benchmark.queries]
    whole = compact.measure_recall(benchmark)
    value, loss = compact.estimate_loss(whole.weights, whole.weights, clusters, PARAMS)
    assert (value.value, loss.value, loss.low, loss.high) == (1.0, 0.0, 0.0, 0.0)
    exchanged = replace(benchmark, adapter_vectors=-benchmark.adapter_vectors)
    worse = compact.measure_recall(exchanged)
    _, loss = compact.estimate_loss(worse.weights, whole.weights, clusters, PARAMS)
    assert loss.value < -0.5 and loss.high < 0


def test_distance_ignores_length() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 8))
    assert compact.max_distance(vectors, 3 * vectors) == pytest.approx(0, abs=1e-12)
    turned = vectors.copy()
    turned[3] *= -1
    assert compact.max_distance(vectors, turned) == pytest.approx(2)


def test_table_and_headlines_state_the_same_numbers() -> None:
    benchmark = synthetic_benchmark()
    clusters = [query.adapters[0] for query in benchmark.queries]
    recalls = compact.measure_recall(benchmark)
    estimates = compact.estimate_loss(recalls.weights, recalls.weights, clusters, PARAMS)
    row = compact.Row("int8", 45, 3.64, *estimates, *estimates, 1e-5)
    assert "| int8 | 45 | 3.64 | 1.000 [1.000, 1.000] | 0.000 [0.000, 0.000] |" in compact.to_markdown([row])
    values = {headline.name: headline.value for headline in compact.headlines(row, "best")}
    assert values["reach.compact_encoder_megabytes"] == 3.64
    assert values["reach.compact_encoder_theme_r_at_1"] == 1.0
    assert values["reach.compact_encoder_theme_r_at_1_loss"] == 0.0
