"""The file of a language, and trust in texts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from autolora.errors import MissingArtifact
from autolora.matching.language import FILE, MAX_TRUST, PRIOR_TRUST, Language, LanguageMap, TextTrust
from autolora.storage.arrays import Float32Array


def random_language() -> Language:
    rng = np.random.default_rng(0)

    def space() -> LanguageMap:
        arrays: list[Float32Array] = [
            rng.normal(size=shape).astype(np.float32) for shape in ((4,), (4,), (4, 4))
        ]
        return LanguageMap(*arrays)

    trust = TextTrust(rng.normal(size=2), rng.normal(size=2))
    return Language("model", space(), space(), rng.normal(size=(3, 4)), trust, 1.5, 0.1)


def test_a_saved_language_is_loaded_exactly(tmp_path: Path) -> None:
    language = random_language()
    assert Language.load(tmp_path) is None
    language.save(tmp_path)
    loaded = Language.load(tmp_path)
    assert loaded is not None and (loaded.model, loaded.digest) == ("model", language.digest)
    assert (loaded.everyday_length, loaded.min_length) == (1.5, 0.1)
    assert np.array_equal(loaded.coefficients, language.coefficients)
    assert np.array_equal(loaded.trust.by_weights, language.trust.by_weights)
    features = np.eye(4, dtype=np.float32)
    for name in ("captions", "texts"):
        own, other = getattr(loaded, name), getattr(language, name)
        assert np.array_equal(own.said(features), other.said(features))
        assert np.array_equal(own.parts(features), other.parts(features))
    changed = replace(language, coefficients=language.coefficients + 1e-12)
    assert len({language.digest, changed.digest, replace(language, model="another").digest}) == 3


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "no tensor", "further tensor", "no model"])
def test_a_damaged_language_is_an_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / FILE
    random_language().save(tmp_path)
    arrays = load_file(path)
    if damage == "no tensor":
        del arrays["texts.matrix"]
    if damage == "further tensor":
        arrays["more"] = np.eye(2)
    if damage in ("no tensor", "further tensor", "no model"):
        save_file(arrays, path, None if damage == "no model" else {"model": "x"})
    else:
        path.write_bytes({"cut": path.read_bytes()[:-8], "text": b"no safetensors", "empty": b""}[damage])
    with pytest.raises(
        MissingArtifact, match=r"language.safetensors is not a valid language .*dvc repro enc"
    ):
        Language.load(tmp_path)


def test_the_mean_of_texts_is_that_of_their_unit_vectors() -> None:
    space = random_language().texts
    features = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    total = space.said(features).sum(axis=0)
    assert space.mean(features) == pytest.approx(total / np.linalg.norm(total), abs=1e-6)
    assert space.mean(features[:0]).tolist() == [0, 0, 0, 0]


def test_captions_decide_about_texts_and_else_weights_as_far_as_they_predict() -> None:
    trust = TextTrust(np.array([20.0, -4.0]), np.array([30.0, -7.0]))
    assert trust.log_odds(0.9, 0.0, 0.0) == pytest.approx(PRIOR_TRUST + 3), "captions confirm up to a bound"
    assert trust.log_odds(0.0, 0.9, 1.0) == pytest.approx(PRIOR_TRUST - 4), "the weights do not matter then"
    assert trust.log_odds(None, 0.0, 0.2) == pytest.approx(PRIOR_TRUST - 1.4)
    assert trust.log_odds(None, 0.9, 0.0) == PRIOR_TRUST, "what resembles no training adapter says nothing"
    assert trust.log_odds(None, 1.0, 1.0) == MAX_TRUST and trust.log_odds(None, -1.0, 1.0) == -MAX_TRUST
