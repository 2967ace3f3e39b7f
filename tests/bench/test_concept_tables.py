"""bench.concept_tables on synthetic benchmarks: outcomes of methods, joined tasks, and paired estimates."""

from dataclasses import replace

import numpy as np
import pytest

from autolora.metrics.methods import encoder_scores
from autolora.params import EvaluationParams
from bench import concept_tables as tables
from bench.retrieval import UNSEEN, WHOLE
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1,), bootstrap=200, seed=0, themes=None)


def outcome(noise: float = 0.05, sign: float = 1.0) -> tables.Outcome:
    """Return the outcome of the vectors of a synthetic benchmark, or of their opposites."""
    benchmark = synthetic_benchmark(noise=noise, training=(1, 4))
    vectors = sign * benchmark.adapter_vectors
    return tables.measure(replace(benchmark, adapter_vectors=vectors), encoder_scores)


def test_right_vectors_differ_from_wrong_ones_by_one() -> None:
    rows = {"right": [outcome()], "wrong": [outcome(sign=-1.0)]}
    content = tables.estimate_rows(rows, "wrong", PARAMS)
    assert list(content) == [WHOLE, UNSEEN]
    right = content[WHOLE]["theme"]["right"]["R@1"]
    assert (right["value"], right["seeds"], right["clusters"]) == (1.0, [1.0], 5)
    assert right["difference"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert set(content[WHOLE]["theme"]["right"]) == {"R@1", "R@3", "MRR"}
    text = tables.to_markdown(content[WHOLE], "wrong")
    assert "| right | 1.00 [1.00, 1.00] |" in text and "+1.00 [+1.00, +1.00]" in text


def test_seeds_are_averaged_and_kept() -> None:
    content = tables.estimate_rows(
        {"mixed": [outcome(), outcome(sign=-1.0)], "right": [outcome()]}, "right", PARAMS
    )
    mixed = content[UNSEEN]["theme"]["mixed"]["R@1"]
    assert (mixed["value"], mixed["seeds"], mixed["difference"]["value"]) == (0.5, [1.0, 0.0], -0.5)


def test_joined_tasks_are_paired_in_any_order() -> None:
    whole = synthetic_benchmark(noise=0.4, training=(1, 4))
    parts = [
        replace(whole, queries=whole.queries[rows], query_vectors=whole.query_vectors[rows])
        for rows in (slice(10, None), slice(None, 10))
    ]
    joined = tables.join([tables.measure(part, encoder_scores) for part in parts])
    alone = tables.join([tables.measure(whole, encoder_scores)])
    assert joined.queries == alone.queries
    for column, values in alone.columns.items():
        assert np.array_equal(joined.columns[column], values, equal_nan=True)


def test_chance_is_exact() -> None:
    benchmark = synthetic_benchmark(training=(1, 4))
    content = tables.estimate_rows({"chance": [tables.measure_chance(benchmark)]}, "chance", PARAMS)
    assert content[WHOLE]["theme"]["chance"]["R@1"]["value"] == pytest.approx(3 / 12)
