"""What captions and texts add to an index: checks against weights, vectors, and trust."""

import random
import shutil
from collections.abc import Sequence
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
from autolora.index.evidence import CERTAIN, EvidenceReader
from autolora.matching.caption_rule import CaptionRule, directions
from autolora.matching.language import PRIOR_TRUST, TextTrust
from autolora.models import ClipTextEncoder
from autolora.storage.arrays import Float32Array, Float64Array
from autolora.storage.tables import read_table
from tests.support.hybrid_repo import write_hybrid
from tests.support.synthetic_repo import (
    SyntheticAdapter,
    make_adapters,
    write_dataset,
    write_index,
    write_repository,
)
from tests.support.tiny_sentences import WordSums, plain_language

SENTENCES = WordSums(128)
LANGUAGE = replace(
    plain_language(SENTENCES), trust=TextTrust(np.array([20.0, -4.0]), np.array([30.0, -7.0])), min_length=0.1
)


def embed(texts: Sequence[str]) -> Float64Array:
    """Return the unit vectors (N, d) of texts without what all share."""
    features, (shared,) = SENTENCES.encode(texts), SENTENCES.encode([""])
    return directions((features - np.outer(features @ shared, shared)).astype(np.float64))


def predicted(theme: str, length: float = 0.5) -> Float32Array:
    return (length * embed([theme])[0]).astype(np.float32)


@pytest.fixture
def reader() -> EvidenceReader:
    return EvidenceReader(CaptionRule(np.zeros(128), -0.2), embed, LANGUAGE, SENTENCES)  # type: ignore[arg-type]


def test_captions_count_unless_a_long_prediction_contradicts_them(reader: EvidenceReader) -> None:
    right, wrong = [["neon", "neon cat"]], [["chalk", "chalk cat"]]
    for weights, groups, agrees, counts in (
        (predicted("neon"), right, True, True),
        (predicted("neon"), wrong, False, False),
        (predicted("neon", length=0.05), wrong, None, True),
        (predicted("neon"), [], None, False),
    ):
        row = reader.read(weights, groups, ())
        assert agrees is None or row["uses_captions"] is agrees
        expected = LANGUAGE.captions.mean(SENTENCES.encode([text for texts in groups for text in texts]))
        assert np.allclose(row["captions_vector"], expected if counts else 0)
    assert reader.read(predicted("neon"), [], ())["agreement"] is None


def test_texts_are_trusted_as_captions_say_and_else_as_weights_do(reader: EvidenceReader) -> None:
    def trust(texts: Sequence[str], groups: Sequence[Sequence[str]] = (), length: float = 1.0) -> float:
        return float(reader.read(predicted("neon", length), groups, texts)["texts_trust"])

    captions = [["neon", "neon"]]
    assert trust(["neon"], captions) > PRIOR_TRUST > 0 > trust(["chalk"], captions)
    assert trust(["neon"]) > PRIOR_TRUST > 0 > trust(["chalk"])
    assert trust(["chalk"], length=0.01) == pytest.approx(PRIOR_TRUST, abs=0.1), "the weights say nothing"
    assert trust([]) == CERTAIN


def test_without_an_encoder_captions_are_texts_among_others(reader: EvidenceReader) -> None:
    row = replace(reader, rule=None).read(None, [["neon"]], ["chalk"])
    assert not row["captions_vector"].any() and row["texts_trust"] == CERTAIN and row["uses_captions"] is None
    assert np.allclose(row["texts_vector"], LANGUAGE.texts.mean(SENTENCES.encode(["neon", "chalk"])))


def test_without_a_language_there_are_checks_alone(reader: EvidenceReader) -> None:
    row = replace(reader, language=None, sentences=None).read(predicted("neon"), [["neon"]], ["neon"])
    assert row["uses_captions"] is True and row.keys() == {*index.CHECKS}


@pytest.fixture
def adapters() -> list[SyntheticAdapter]:
    return make_adapters(themes=("mosaic", "neon", "chalk"), authors=(0, 1, 2, 3))


@pytest.mark.slow
def test_the_index_states_how_captions_agree_with_weights(
    tmp_path: Path, text_encoder: ClipTextEncoder, adapters: list[SyntheticAdapter]
) -> None:
    write_hybrid(tmp_path, text_encoder, adapters)
    encoder = encoder_store.load_encoder(encoder_store.folder(tmp_path))
    assert isinstance(encoder, RidgeEncoder) and -1 < float(encoder.agreement_margin) <= 0
    names, weights = index.read_vectors(tmp_path)
    images = {adapter.sha256: {caption.image for caption in adapter.captions} for adapter in adapters}
    by_image, checks = dataset.captions_by_image(tmp_path), read_caption_checks(index.folder(tmp_path))
    rows = read_table(index.folder(tmp_path), index.TABLE, ["sha256", "uses_captions"])
    assert True in {row["uses_captions"] for row in rows} <= {True, False}
    assert np.linalg.norm(weights, axis=1).min() > 0 and np.linalg.norm(weights, axis=1).max() < 0.99
    for name, alone in zip(names, directions(weights.astype(np.float64)), strict=True):
        texts = [caption.text for image in images[name] for caption in by_image[image]]
        mean = embed_texts(encoder, text_encoder, texts).mean(axis=0)
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


def vectors_by_adapter(root: Path) -> dict[str, list[float]]:
    """Return adapter -> the vector of its weights."""
    names, weights = index.read_vectors(root)
    return dict(zip(names, weights.tolist(), strict=True))
