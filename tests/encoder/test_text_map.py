"""The text map: centering, whitening within adapters, and its form in an index."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from autolora.encoder.text_map import TextMap
from autolora.errors import MissingArtifact
from autolora.index.copies import TEXT_MAP_FILE, read_text_map, write_text_map
from autolora.index.copies import TextMap as StoredTextMap

WIDTH = 16
EMPTY = torch.cat((torch.zeros(4), torch.linspace(-2, 3, WIDTH - 4)))
"""features of the empty prompt, equal to the mean in the dimensions in which adapters differ"""


def draw_features(adapters: int, captions: int, seed: int = 0) -> list[Tensor]:
    """Return caption features that differ between adapters in four dimensions, and within them in the others."""
    generator = torch.Generator().manual_seed(seed)
    features = []
    for _ in range(adapters):
        rows = 3.0 * torch.randn(captions, WIDTH, generator=generator) + 1.0
        rows[:, :4] = torch.randn(4, generator=generator) + 0.1 * torch.randn(
            captions, 4, generator=generator
        )
        features.append(rows)
    return features


def fitted(features: list[Tensor], mapping: str) -> TextMap:
    text_map = TextMap(WIDTH)
    text_map.fit(features, EMPTY, mapping, shrinkage=0.01)  # type: ignore[arg-type]
    return text_map


def test_whitening_brings_captions_of_one_adapter_together() -> None:
    features, unseen = draw_features(40, 8), draw_features(20, 2, seed=1)
    shares = {}
    for mapping in ("none", "center", "whiten"):
        first, second = fitted(features, mapping)(torch.stack(unseen)).unbind(1)
        shares[mapping] = float(((first @ second.T).argmax(1) == torch.arange(20)).float().mean())
    assert shares["whiten"] > 0.6 > 2 * max(shares["none"], shares["center"])  # chance is 1/20


def test_whitened_captions_vary_alike_in_all_directions() -> None:
    features = draw_features(200, 8)
    matrix = fitted(features, "whiten").matrix
    within = torch.cat([(rows - rows.mean(0)) @ matrix for rows in features])
    variances = torch.linalg.eigvalsh(within.T @ within / len(within)).flip(0)
    assert variances[: WIDTH - 5].max() / variances[: WIDTH - 5].min() < 1.3
    assert variances[-1] < 1e-6 * variances[0]  # the direction of the empty prompt


def test_the_empty_prompt_says_nothing() -> None:
    text_map = fitted(draw_features(40, 8), "whiten")
    texts = torch.randn(5, WIDTH)
    assert ((EMPTY - text_map.center) @ text_map.matrix).norm() < 1e-4
    stored = StoredTextMap(text_map.center.numpy(), text_map.matrix.numpy())
    assert not text_map(EMPTY[None]).any() and not stored.apply(EMPTY[None].numpy()).any()
    more_empty = texts + 0.7 * (EMPTY - text_map.center)
    assert torch.allclose(text_map(texts), text_map(more_empty), atol=1e-5)


def test_center_is_the_mean_over_adapters_and_not_over_captions() -> None:
    features = [torch.zeros(9, WIDTH), torch.ones(1, WIDTH)]
    assert torch.allclose(fitted(features, "center").center, torch.full((WIDTH,), 0.5))


def test_without_repeated_captions_features_are_only_centered(caplog: pytest.LogCaptureFixture) -> None:
    features = [rows[:1] for rows in draw_features(5, 2)]
    with caplog.at_level(logging.WARNING):
        matrix = fitted(features, "whiten").matrix
    assert torch.allclose(matrix @ matrix, matrix, atol=1e-6)  # a projection
    assert matrix.trace() == pytest.approx(WIDTH - 1)
    assert "not whitened" in caplog.text


def test_index_stores_the_same_map(tmp_path: Path) -> None:
    text_map, texts = fitted(draw_features(20, 4), "whiten"), torch.randn(6, WIDTH)
    write_text_map(tmp_path, StoredTextMap(text_map.center.numpy(), text_map.matrix.numpy()))
    stored = read_text_map(tmp_path)
    assert np.allclose(stored.apply(texts.numpy()), text_map(texts).numpy(), atol=1e-6)
    (tmp_path / TEXT_MAP_FILE).write_bytes(b"damaged")
    with pytest.raises(MissingArtifact, match="dvc repro index"):
        read_text_map(tmp_path)
