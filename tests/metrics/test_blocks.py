"""Blocks of queries give the numbers of all queries at once, ties included."""

from itertools import product

import numpy as np
import pytest

from autolora.metrics import bootstrap, retrieval
from autolora.metrics.benchmark import relevant_by_level
from autolora.metrics.comparison import compare_methods, index_health, search, search_index
from autolora.metrics.methods import BASELINES, encoder_scores
from autolora.metrics.numbers import rounded
from autolora.params import EvaluationParams
from tests.support.synthetic_benchmark import synthetic_benchmark

PARAMS = EvaluationParams(split="test", ks=(1, 3), bootstrap=50, seed=0, themes=None)


def dense_rank(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the ranks from a mask of relevant items (Q, N)."""
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + ((scores >= best) & ~relevant).sum(axis=1)


def tied_scores(seed: int, queries: int = 40, pool: int = 17) -> np.ndarray:
    """Return scores of few distinct values, so that most are tied."""
    return np.random.default_rng(seed).integers(-3, 4, (queries, pool)).astype(np.float64)


@pytest.mark.parametrize("seed", range(20))
def test_ranks_and_hits_with_ties_equal_those_of_a_dense_reference(seed: int) -> None:
    rng, scores = np.random.default_rng(seed), tied_scores(seed)
    mask = rng.random(scores.shape) < 0.2
    mask[:, 0] |= ~mask.any(axis=1)
    relevant = [rng.permutation(np.flatnonzero(row)) for row in mask]
    assert np.array_equal(retrieval.ranks(scores, relevant), dense_rank(scores, mask))
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in (1, 3, 17):
        assert np.array_equal(retrieval.best_items(scores, k), order[:, :k])


def test_blocks_cover_every_query_once_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 8 * 10 * 3)
    assert [(rows.start, rows.stop) for rows in retrieval.blocks(7, 10)] == [(0, 3), (3, 6), (6, 7)]
    assert len(list(retrieval.blocks(7, 1000))) == 7, "at least one query at a time"
    assert not list(retrieval.blocks(0, 10))


@pytest.mark.parametrize("noise", [0.1, 0.3])
def test_tables_do_not_depend_on_the_block(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = synthetic_benchmark(
        noise=noise, is_captioned=lambda c: c.adapter not in (3, 4), training=(5, 6)
    )
    relevant = relevant_by_level(benchmark)

    def numbers() -> object:
        searches = search_index(benchmark, relevant, PARAMS.ks)
        return (
            index_health(benchmark, searches, PARAMS.ks),
            compare_methods(benchmark, searches, relevant, PARAMS),
        )

    at_once = numbers()
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", 8 * 12 * 7)
    monkeypatch.setattr(bootstrap, "BLOCK_DRAWS", 13)
    assert rounded(numbers()) == rounded(at_once)


@pytest.mark.parametrize(("method", "noise"), [*product((encoder_scores, *BASELINES.values()), (0.3, 2.0))])
def test_searches_equal_a_dense_reference(method: object, noise: float) -> None:
    benchmark = synthetic_benchmark(noise=noise, training=(1, 4))
    scores = method(benchmark)  # type: ignore[operator]
    relevant, dense = relevant_by_level(benchmark), scores(slice(None))
    searches = search(benchmark, scores, relevant, 5)
    for level in ("adapter", "theme"):
        positions = relevant[level]
        mask = np.zeros(dense.shape, dtype=bool)
        for row, items in zip(mask, positions, strict=True):
            row[items] = True
        assert np.array_equal(searches.ranks[level], dense_rank(dense, mask))
    order = np.argsort(-dense, axis=1, kind="stable")[:, :5]
    assert np.array_equal(searches.hits, order)
    assert np.array_equal(searches.scores, np.take_along_axis(dense, order, axis=1))


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
    ranks = search(benchmark, lambda rows: undefined[rows], {"adapter": relevant}).ranks["adapter"]
    assert np.flatnonzero(np.isnan(ranks)).tolist() == [1, 23]
    assert (ranks[2:23] == 12).all()
