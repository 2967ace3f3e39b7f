"""Hybrid vectors: weights and captions combined, unless they contradict each other."""

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolora.dataset import store as dataset
from autolora.encoder import store as encoder_store
from autolora.encoder.model import embed_texts
from autolora.encoder.ridge import RidgeEncoder
from autolora.index import store as index
from autolora.index.caption_check import read_caption_checks
from autolora.matching.hybrid import CaptionRule, combine, directions
from autolora.models import ClipTextEncoder
from autolora.storage.tables import read_table
from tests.support.hybrid_repo import write_hybrid
from tests.support.synthetic_repo import (
    SyntheticAdapter,
    make_adapters,
    write_dataset,
    write_index,
    write_repository,
)

X, Y = np.eye(2)


def rule(margin: float) -> CaptionRule:
    return CaptionRule(np.zeros(2), margin)


@pytest.fixture
def adapters() -> list[SyntheticAdapter]:
    return make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))


def counts_by_adapter(root: Path) -> dict[str, bool | None]:
    """Return adapter -> whether its captions count."""
    rows = read_table(index.folder(root), index.TABLE, ["sha256", "uses_captions"])
    return {row["sha256"]: row["uses_captions"] for row in rows}


def test_captions_weigh_as_many_weights_as_they_have_renderings() -> None:
    vectors, counts = combine(0.1 * X[None], (5 * (X + Y))[None], np.array([3]), rule(0.0))
    expected = X + 3 * (X + Y) / 2**0.5
    assert counts.tolist() == [True]
    assert np.allclose(vectors[0], expected / np.linalg.norm(expected))


def test_contradicting_and_missing_captions_leave_the_weights() -> None:
    captions, renderings = np.stack([Y, -X, 0 * X]), np.array([4, 4, 0])
    vectors, counts = combine(np.stack([0.1 * X] * 3), captions, renderings, rule(0.0))
    assert np.array_equal(vectors, np.stack([X] * 3)) and not counts.any()


def test_the_longer_the_prediction_the_better_captions_must_agree() -> None:
    lengths = np.array([0.1, 0.2, 0.3])
    weights, captions = lengths[:, None] * X, np.stack([X + Y] * 3)
    cosine = 2**-0.5
    assert rule(0.1).agreements(weights, captions) == pytest.approx([cosine] * 3)
    assert rule(0.1).expected(weights, captions) == pytest.approx(0.1 + lengths)
    vectors, counts = combine(weights, captions, np.array([1, 1, 1]), rule(cosine - 0.25))
    assert counts.tolist() == [True, True, False]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_captions_that_are_predicted_exactly_agree_however_skewed_the_training_adapters_are() -> None:
    rng = np.random.default_rng(0)
    themes = directions(rng.normal(size=(11, 32)))
    targets = themes[[0] * 35 + list(range(1, 11))]
    mean = targets.mean(axis=0)
    exact = CaptionRule(mean, margin=-1e-9)
    _, counts = combine(targets - mean, 3 * targets, np.ones(45, dtype=np.int64), exact)
    assert counts.all()
    _, counts = combine(targets - mean, 3 * targets[::-1], np.ones(45, dtype=np.int64), exact)
    assert not counts[:10].any() and not counts[-10:].any()


@pytest.mark.slow
def test_index_holds_the_hybrid_of_weights_and_captions(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    encoder = encoder_store.load_encoder(encoder_store.folder(tmp_path))
    assert isinstance(encoder, RidgeEncoder) and -1 < float(encoder.agreement_margin) <= 0
    (names, vectors), (_, weights) = (
        index.read_vectors(tmp_path),
        index.read_vectors(tmp_path, "weights_vector"),
    )
    captions, by_image = (
        {adapter.sha256: adapter for adapter in adapters},
        dataset.captions_by_image(tmp_path),
    )
    counts, checks = counts_by_adapter(tmp_path), read_caption_checks(index.folder(tmp_path))
    assert set(counts.values()) <= {True, False} and True in counts.values()
    assert np.linalg.norm(weights, axis=1).min() > 0 and np.linalg.norm(weights, axis=1).max() < 0.99
    for name, vector, alone in zip(names, vectors, directions(weights.astype(np.float64)), strict=True):
        images = {caption.image for caption in captions[name].captions}
        texts = [caption.text for image in images for caption in by_image[image]]
        mean = embed_texts(encoder, text_encoder, texts).mean(axis=0)
        expected = len(images) * mean / np.linalg.norm(mean) + alone
        expected = expected / np.linalg.norm(expected) if counts[name] else alone
        assert np.allclose(vector, expected, atol=1e-5)
        offset = mean / np.linalg.norm(mean) - encoder.mean_target.numpy()
        assert np.isclose(checks[name].agreement, offset @ alone / np.linalg.norm(offset), atol=1e-5)


@pytest.mark.slow
def test_only_adapters_with_changed_captions_are_embedded_again(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    changed = [replace(adapters[0], captions=adapters[0].captions[:1]), *adapters[1:]]
    assert write_hybrid(tmp_path, text_encoder, changed) == {"embedded": 1, "updated": 0, "removed": 0}
    assert write_hybrid(tmp_path, text_encoder, changed) == {"embedded": 0, "updated": 0, "removed": 0}


@pytest.mark.slow
@pytest.mark.long(full=50, sample=2)
def test_vectors_do_not_depend_on_the_other_adapters(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter], seed: int
) -> None:
    """With the same encoder, in an index of some of the adapters, in another order and other batches."""
    write_hybrid(tmp_path, text_encoder, adapters)
    rng, expected = random.Random(seed), vectors_by_adapter(tmp_path)
    some = rng.sample(adapters, rng.randint(1, len(adapters) - 1))
    shutil.rmtree(index.folder(tmp_path))
    write_repository(tmp_path, some)
    write_dataset(tmp_path)
    write_index(tmp_path, rng.randint(1, len(adapters)), text_encoder)
    assert vectors_by_adapter(tmp_path) == {adapter.sha256: expected[adapter.sha256] for adapter in some}


def vectors_by_adapter(root: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Return adapter -> its vector and that of its weights."""
    (names, vectors), (_, weights) = (index.read_vectors(root, column) for column in index.VECTORS)
    return dict(zip(names, zip(vectors.tolist(), weights.tolist(), strict=True), strict=True))


@pytest.mark.slow
def test_an_adapter_without_captions_has_the_vector_of_its_weights(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    bare = replace(adapters[0], captions=())
    write_hybrid(tmp_path, text_encoder, [bare, *adapters[1:]])
    names, vectors = index.read_vectors(tmp_path)
    _, weights = index.read_vectors(tmp_path, "weights_vector")
    position = names.index(bare.sha256)
    assert counts_by_adapter(tmp_path)[bare.sha256] is None
    alone = directions(weights[position : position + 1].astype(np.float64))[0]
    assert np.allclose(vectors[position], alone, atol=1e-6)
