"""Blocks of queries give the numbers of all queries at once, ties included."""

from typing import Any

import numpy as np
import pytest

from autolora.metrics import bootstrap, retrieval
from autolora.metrics.benchmark import relevant_by_level
from autolora.metrics.comparison import compare_ranks, ranks_by_level
from autolora.metrics.methods import Scores, caption_centroid_scores, weights_scores
from autolora.metrics.numbers import rounded
from autolora.params import EvaluationParams
from bench.baselines import BASELINES, fused_scores
from tests.support.synthetic_benchmark import synthetic_benchmark, synthetic_pool

PARAMS = EvaluationParams(split="test", ks=(1, 3), bootstrap=50, seed=0, themes=None)


def dense_rank(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the ranks from a mask of relevant items (Q, N)."""
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + ((scores >= best) & ~relevant).sum(axis=1)


def tied_scores(seed: int, queries: int = 40, pool: int = 17) -> np.ndarray:
    """Return scores of few distinct values, so that most are tied."""
    return np.random.default_rng(seed).integers(-3, 4, (queries, pool)).astype(np.float64)


@pytest.mark.parametrize("seed", range(20))
def test_ranks_with_ties_equal_those_of_a_dense_reference(seed: int) -> None:
    rng, scores = np.random.default_rng(seed), tied_scores(seed)
    mask = rng.random(scores.shape) < 0.2
    mask[:, 0] |= ~mask.any(axis=1)
    relevant = [rng.permutation(np.flatnonzero(row)) for row in mask]
    assert np.array_equal(retrieval.ranks(scores, relevant), dense_rank(scores, mask))


def test_blocks_cover_every_query_once_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 8 * 10 * 3)
    assert [(rows.start, rows.stop) for rows in retrieval.blocks(7, 10)] == [(0, 3), (3, 6), (6, 7)]
    assert len(list(retrieval.blocks(7, 1000))) == 7, "at least one query at a time"
    assert not list(retrieval.blocks(0, 10))


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_tables_do_not_depend_on_the_block(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = synthetic_benchmark(
        noise=noise, is_captioned=lambda c: c.adapter not in (3, 7), without_query=(5, 6)
    )
    relevant = relevant_by_level(benchmark)
    methods = [weights_scores(benchmark), caption_centroid_scores(benchmark)]
    methods.append(fused_scores(methods[:]))

    def tables() -> dict[str, Any]:
        ranks = {str(row): ranks_by_level(benchmark, method, relevant) for row, method in enumerate(methods)}
        return rounded(compare_ranks(benchmark, ranks, relevant, PARAMS))

    at_once = tables()
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 8 * 12 * 7)
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 13)
    assert tables() == at_once


@pytest.mark.parametrize("noise", [0.3, 2.0])
@pytest.mark.parametrize("name", ["weights", *BASELINES])
def test_ranks_equal_a_dense_reference(name: str, noise: float) -> None:
    pool = synthetic_pool(noise=noise, training=(1, 4))
    benchmark = pool.benchmark
    scores: Scores = BASELINES[name](pool) if name in BASELINES else weights_scores(benchmark)
    relevant, dense = relevant_by_level(benchmark), scores(slice(None))
    ranks = ranks_by_level(benchmark, scores, relevant)
    for level, positions in relevant.items():
        mask = np.zeros(dense.shape, dtype=bool)
        for row, items in zip(mask, positions, strict=True):
            row[items] = True
        assert np.array_equal(ranks[level], dense_rank(dense, mask))


def test_draws_in_blocks_are_those_of_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = np.random.default_rng(0).normal(size=(2, 27)), [f"adapter {n // 2}" for n in range(27)]
    means = bootstrap.cluster_means(values[0], clusters)
    draws = np.random.default_rng(5).integers(0, 14, size=(200, 14))
    low, high = np.quantile(means[draws].mean(axis=1), [(1 - bootstrap.LEVEL) / 2, (1 + bootstrap.LEVEL) / 2])
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 14 * 33)
    estimates = bootstrap.estimates({"a": values[0], "b": values[1]}, clusters, 200, 5)
    assert (estimates["a"].low, estimates["a"].high) == pytest.approx((low, high), abs=1e-12)
    assert estimates["a"].value == means.mean()
    alone = bootstrap.estimate(values[1], clusters, 200, 5)
    assert (alone.low, alone.high) == pytest.approx((estimates["b"].low, estimates["b"].high), abs=1e-12)


def test_the_mean_of_one_cluster_is_its_own_interval() -> None:
    result = bootstrap.estimate(np.array([0.2, 0.4]), ["a", "a"], 10, 0)
    assert result.low == result.value == result.high


def test_query_without_relevant_items_or_scores_has_no_rank() -> None:
    benchmark = synthetic_benchmark(judged=False)
    undefined = np.array([0.0, np.nan, *[0.0] * 22])[:, None] + np.zeros((24, 12))
    relevant = [np.array([0])] * 23 + [np.empty(0, dtype=np.int64)]
    ranks = ranks_by_level(benchmark, lambda rows: undefined[rows], {"adapter": relevant})["adapter"]
    assert np.flatnonzero(np.isnan(ranks)).tolist() == [1, 23]
    assert (ranks[2:23] == 12).all()
