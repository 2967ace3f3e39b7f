"""Metrics against counts by hand, enumeration and known behavior."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from autolora.errors import MismatchError, MissingArtifact
from autolora.metrics import retrieval
from autolora.metrics.bootstrap import cluster_means, estimate
from autolora.metrics.clip import image_features, load_clip, similarity, text_features
from autolora.metrics.judgments import read_judgments
from autolora.metrics.numbers import rounded, to_json


def test_rank_is_that_of_the_first_right_item() -> None:
    scores = np.array([[0.9, 0.5, 0.7], [0.1, 0.2, 0.3]])
    right = np.array([[False, True, True], [True, False, False]])
    assert retrieval.ranks(scores, right).tolist() == [2, 3]


def test_ties_count_against_the_right_item() -> None:
    assert retrieval.ranks(np.zeros((1, 4)), np.array([[False, True, False, False]])).tolist() == [4]


def test_a_query_without_a_right_item_has_no_rank() -> None:
    with pytest.raises(ValueError, match="no rank"):
        retrieval.ranks(np.zeros((1, 2)), np.zeros((1, 2), dtype=bool))


def test_recall_and_reciprocal() -> None:
    rank = np.array([1, 2, 4])
    assert retrieval.recall(rank, 2).tolist() == [1.0, 1.0, 0.0]
    assert retrieval.reciprocal(rank).tolist() == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(("pool", "right"), [(5, 1), (5, 2), (4, 4), (6, 3)])
def test_chance_equals_enumeration_of_all_orders(pool: int, right: int) -> None:
    ranks = [min(order.index(item) for item in range(right)) + 1 for order in permutations(range(pool))]
    wanted = np.zeros((1, pool), dtype=bool)
    wanted[0, :right] = True
    for k in (1, 3):
        assert retrieval.chance_recall(wanted, k)[0] == pytest.approx(np.mean([rank <= k for rank in ranks]))
    assert retrieval.chance_reciprocal(wanted)[0] == pytest.approx(np.mean([1 / rank for rank in ranks]))


def test_chance_of_one_right_item_is_k_over_n() -> None:
    right = np.eye(162, dtype=bool)
    assert retrieval.chance_recall(right, 3)[0] == pytest.approx(3 / 162)
    assert retrieval.chance_reciprocal(right)[0] == pytest.approx(sum(1 / r for r in range(1, 163)) / 162)


def test_a_hub_that_answers_everything_is_seen() -> None:
    scores = np.tile([0.9, 0.1, 0.0, -0.1], (6, 1))
    health = retrieval.health(scores, 1)
    assert (health.busiest, health.busiest_share, health.never) == (0, 1.0, 0.75)
    assert health.hubness > 1
    assert health.gap == pytest.approx(0.8)
    assert retrieval.health(np.eye(4), 1).hubness == 0


def test_the_mean_is_over_clusters_not_values() -> None:
    values = np.array([1.0, 1.0, 1.0, 0.0])
    assert cluster_means(values, ["a", "a", "a", "b"]).tolist() == [1.0, 0.0]
    found = estimate(values, ["a", "a", "a", "b"], resamples=500, seed=0)
    assert (found.value, found.low, found.high, found.n, found.clusters) == (0.5, 0.0, 1.0, 4, 2)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(200):
        means = rng.normal(size=30)
        values = np.repeat(means, 4) + rng.normal(scale=0.1, size=120)
        found = estimate(values, np.repeat(np.arange(30), 4).tolist(), resamples=300, seed=trial)
        hits += found.low <= 0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_clustered_values_are_not_taken_for_independent() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=10), 50)
    clustered = estimate(values, np.repeat(np.arange(10), 50).tolist(), 500, 0)
    alone = estimate(values, list(range(500)), 500, 0)
    assert clustered.high - clustered.low > 3 * (alone.high - alone.low)


def test_nothing_to_estimate_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        estimate(np.array([]), [], 10, 0)


def test_rounded_numbers() -> None:
    assert rounded({"a": [0.12345678, 3, "x", None], "b": (1.0,)}) == {
        "a": [0.123457, 3, "x", None],
        "b": [1.0],
    }
    assert to_json({"b": 1, "a": rounded(-1e-9)}) == '{\n "a": 0.0,\n "b": 1\n}\n'


def test_judgments(tmp_path: Path) -> None:
    path = tmp_path / "themes.json"
    path.write_text(
        json.dumps({"ab": {"theme": "neon", "kind": "style", "author": "x"}, "cd": {"theme": "cat"}})
    )
    found = read_judgments(path)
    assert (found["ab"].theme, found["ab"].kind, found["cd"].kind) == ("neon", "style", None)
    assert read_judgments(None) == {}


def test_bad_judgments_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"evaluation\.themes"):
        read_judgments(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"ab": "neon"}')
    with pytest.raises(MismatchError, match="no file of judgments"):
        read_judgments(tmp_path / "bad.json")


def save_clip(folder: Path) -> Path:
    """Save a tiny random CLIPModel folder with tokenizer and image processor."""
    torch.manual_seed(0)
    tower = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    letters = [*"abcdefghijklmnopqrstuvwxyz,"]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    end = vocab["<|endoftext|>"]
    words = {**tower, "vocab_size": len(vocab), "max_position_embeddings": 24, "projection_dim": 8}
    words |= {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    pixels = {**tower, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    CLIPModel(CLIPConfig(text_config=words, vision_config=pixels, projection_dim=8)).save_pretrained(folder)
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=24).save_pretrained(folder)
    square = {"height": 16, "width": 16}
    CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False).save_pretrained(folder)
    return folder


def test_clip_features_are_unit_rows_of_their_own(tmp_path: Path) -> None:
    clip = load_clip(save_clip(tmp_path / "clip"), "cpu")
    pictures = [Image.new("RGB", (20, 30), colour) for colour in ("red", "blue")]
    images, texts = image_features(clip, pictures), text_features(clip, ["a cat", "a very long text " * 20])
    assert images.shape == texts.shape == (2, 8)
    assert np.allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1, atol=1e-5)
    assert np.allclose(image_features(clip, pictures[::-1])[::-1], images, atol=1e-5)
    assert similarity(images, images[:1])[0] == pytest.approx(1, abs=1e-5)
    assert similarity(images, texts).shape == (2,)


def test_a_folder_that_is_no_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifact, match=r"judges\.clip"):
        load_clip(tmp_path, "cpu")
