"""Metrics against hand-computed values, enumeration and known behavior."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolora.errors import MismatchError, MissingArtifact
from autolora.metrics import retrieval
from autolora.metrics.bootstrap import cluster_means, estimate
from autolora.metrics.clip import image_features, load_clip, similarity, text_features
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json
from tests.support.tiny_judges import save_clip


def test_rank_is_that_of_the_first_relevant_item() -> None:
    scores = np.array([[0.9, 0.5, 0.7], [0.1, 0.2, 0.3]])
    assert retrieval.ranks(scores, [np.array([2, 1]), np.array([0])]).tolist() == [2, 3]


def test_ties_count_against_the_relevant_item() -> None:
    assert retrieval.ranks(np.zeros((1, 4)), [np.array([1])]).tolist() == [4]


def test_query_without_relevant_item_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"1 of 1 queries \(the first is query 0\) have no relevant item"):
        retrieval.ranks(np.zeros((1, 2)), [np.empty(0, dtype=np.int64)])


def test_recall_and_reciprocal_rank() -> None:
    rank = np.array([1.0, 2.0, 4.0, np.nan])
    assert np.array_equal(retrieval.recall(rank, 2), [1.0, 1.0, 0.0, np.nan], equal_nan=True)
    assert np.array_equal(retrieval.reciprocal(rank), [1.0, 0.5, 0.25, np.nan], equal_nan=True)


@pytest.mark.parametrize(("pool", "relevant"), [(5, 1), (5, 2), (4, 4), (6, 3)])
def test_chance_equals_enumeration_of_all_orders(pool: int, relevant: int) -> None:
    ranks = [min(order.index(item) for item in range(relevant)) + 1 for order in permutations(range(pool))]
    counts, pools = np.array([1, relevant]), np.array([9, pool])
    for k in (1, 3):
        expected = np.mean([rank <= k for rank in ranks])
        assert retrieval.chance_recall(counts, pools, k) == pytest.approx([k / 9, expected])
    assert retrieval.chance_reciprocal(counts, pools)[1] == pytest.approx(
        np.mean([1 / rank for rank in ranks])
    )


def test_chance_of_one_relevant_item_is_k_over_n() -> None:
    counts = np.ones(162, dtype=np.int64)
    assert retrieval.chance_recall(counts, 162 * counts, 3)[0] == pytest.approx(3 / 162)
    assert retrieval.chance_reciprocal(counts, 162 * counts)[0] == pytest.approx(
        sum(1 / r for r in range(1, 163)) / 162
    )


def test_mean_is_over_clusters_not_over_values() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])
    assert cluster_means(values, ["a", "a", "a", "b"]).tolist() == [1.0, 0.0]
    result = estimate(values, ["a", "a", "a", "b"], resamples=500, seed=0)
    assert (result.value, result.low, result.high, result.n, result.clusters) == (0.5, 0.0, 1.0, 4, 2)


def test_intervals_cover_the_true_mean_at_about_their_level() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(200):
        means = rng.normal(size=30)
        values = np.repeat(means, 4) + rng.normal(scale=0.1, size=120)
        result = estimate(values, np.repeat(np.arange(30), 4).tolist(), resamples=300, seed=seed)
        covered += result.low <= 0 <= result.high
    assert 0.88 <= covered / 200 <= 0.99


def test_clustered_values_are_not_treated_as_independent() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=10), 50)
    clustered = estimate(values, np.repeat(np.arange(10), 50).tolist(), 500, 0)
    independent = estimate(values, list(range(500)), 500, 0)
    assert clustered.high - clustered.low > 3 * (independent.high - independent.low)


def test_estimate_without_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate(np.array([]), [], 10, 0)


def test_numbers_are_rounded_to_six_digits() -> None:
    assert rounded({"a": [0.12345678, 3, "x", None], "b": (1.0,)}) == {
        "a": [0.123457, 3, "x", None],
        "b": [1.0],
    }
    assert to_json({"b": 1, "a": rounded(-1e-9)}) == '{\n "a": 0.0,\n "b": 1\n}\n'


def test_judgments_are_read_by_sha256(tmp_path: Path) -> None:
    path = tmp_path / "themes.json"
    path.write_text(
        json.dumps({"ab": {"theme": "neon", "kind": "style", "author": "x"}, "cd": {"theme": "cat"}})
    )
    judgments = read_judgments(path)
    assert (judgments["ab"].theme, judgments["ab"].kind, judgments["cd"].kind) == ("neon", "style", None)
    assert read_judgments(None) == {}


def test_error_of_bad_judgments_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"evaluation\.themes"):
        read_judgments(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"ab": "neon"}')
    with pytest.raises(MismatchError, match="is not a file of judgments"):
        read_judgments(tmp_path / "bad.json")


def test_clip_features_are_unit_rows_independent_of_the_batch(tmp_path: Path) -> None:
    clip = load_clip(save_clip(tmp_path / "clip"), "cpu")
    inputs = [Image.new("RGB", (20, 30), color) for color in ("red", "blue")]
    images, texts = image_features(clip, inputs), text_features(clip, ["a cat", "a very long text " * 20])
    assert images.shape == texts.shape == (2, 8)
    assert np.allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1, atol=1e-5)
    assert np.allclose(image_features(clip, inputs[::-1])[::-1], images, atol=1e-5)
    assert similarity(images, images[:1])[0] == pytest.approx(1, abs=1e-5)
    assert similarity(images, texts).shape == (2,)


def test_error_of_a_folder_without_clip_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"judges\.clip"):
        load_clip(tmp_path, "cpu")
