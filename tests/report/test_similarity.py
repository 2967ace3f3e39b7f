"""Similarity of adapters: neighbors, agreement with themes, groups and the heat map."""

import base64
from pathlib import Path

import numpy as np
import pytest

from autolora.metrics import retrieval
from autolora.metrics.judgments import Judgment
from autolora.report.cards import read_cards
from autolora.report.groups import cluster, group
from autolora.report.heatmap import build_heatmap
from autolora.report.similarity import AdapterVectors, theme_agreement
from tests.support.synthetic_benchmark import THEMES


def test_nearest_neighbors_and_their_agreement_with_themes() -> None:
    vectors = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 1, 0], [0, 0.9, 0.1], [0, 0, 1]], dtype=np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    source = AdapterVectors(adapters=("a", "b", "c", "d", "e"), vectors=vectors)
    assert [other for other, _ in source.nearest(2)["a"]] == ["b", "c"]
    assert source.select(["d", "x", "a"]).adapters == ("d", "a")
    themes = {"a": "cat", "b": "cat", "c": "neon", "d": "neon", "e": "single"}
    table = theme_agreement({"index": source}, themes, unseen=["a"])
    assert table["index"]["all adapters"]["value"] == 1.0
    assert table["index"]["all adapters"]["n"] == 4
    assert table["chance"]["unseen adapters"]["value"] == pytest.approx(1 / 4)
    assert theme_agreement({"index": source}, {"a": "cat", "b": "dog"}, unseen=["a"]) == {}


@pytest.mark.parametrize("block_bytes", [1, 8 * 40 * 7, 1 << 26])
def test_nearest_neighbors_equal_a_dense_reference(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 6))
    vectors[20:30] = vectors[5]
    vectors[30] = vectors[31] + 1e-9
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.einsum("id,jd->ij", vectors, vectors)
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")
    nearest = AdapterVectors(adapters=tuple(map(str, range(40))), vectors=vectors).nearest(3)
    for row in (*range(5), *range(30, 40)):
        assert [int(other) for other, _ in nearest[str(row)]] == order[row, :3].tolist()
    for row in (5, *range(20, 30)):
        assert {int(other) for other, _ in nearest[str(row)]} < {5, *range(20, 30)} - {row}
    for row in range(40):
        assert np.allclose(
            [cosine for _, cosine in nearest[str(row)]], np.sort(cosines[row])[:-4:-1], atol=1e-12
        )


def test_fewer_adapters_than_neighbors() -> None:
    pair = AdapterVectors(adapters=("a", "b"), vectors=np.eye(2))
    assert pair.nearest(3) == {"a": [("b", 0.0)], "b": [("a", 0.0)]}
    assert AdapterVectors(adapters=("a",), vectors=np.eye(1)).nearest(3) == {"a": []}


def test_groups_without_judgments_hold_similar_adapters_named_by_captions(full: Path) -> None:
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(16, 4)))[0].T
    cards = [card for card in read_cards(full, {}) if card.adapter.accepted]
    vectors = np.stack([directions[int(card.sha256, 16) % 4] for card in cards])
    vectors = vectors + 0.01 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    source = AdapterVectors(adapters=tuple(card.sha256 for card in cards), vectors=vectors)
    groups = group(cards, source)
    grouped = sorted(card.sha256 for similar in groups for card in similar.cards)
    assert grouped == sorted(card.sha256 for card in cards)
    for similar in groups:
        assert any(THEMES[int(card.sha256, 16) % 4] in similar.name for card in similar.cards)
    assert cluster(vectors) == cluster(vectors)
    assert cluster(np.ones((1, 3)) / np.sqrt(3)) == [0]


def test_heatmap_names_groups_on_its_axes_and_holds_every_cosine(full: Path) -> None:
    themes = {f"{number:064x}": Judgment(THEMES[number % 4], None) for number in range(12)}
    cards = [card for card in read_cards(full, themes) if card.adapter.accepted]
    vectors = np.random.default_rng(0).normal(size=(12, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    source = AdapterVectors(adapters=tuple(card.sha256 for card in cards), vectors=vectors)
    heatmap = build_heatmap(group(cards, source), {"index": source})
    assert heatmap is not None
    assert [(band.name, band.count) for band in heatmap.bands] == [(theme, 3) for theme in sorted(THEMES)]
    (layer,) = heatmap.layers
    levels = np.frombuffer(base64.b64decode(layer.cells), dtype=np.uint8)
    cosines = layer.low + levels / 255 * (layer.high - layer.low)
    assert np.allclose(cosines, source.cosines()[np.triu_indices(12, 1)], atol=0.005)
    assert build_heatmap([], {"index": source}) is None
