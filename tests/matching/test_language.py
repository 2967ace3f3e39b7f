"""Search by parts, against a double loop and least squares; the file of a language."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from autolora.errors import MissingArtifact
from autolora.matching.language import (
    FILE,
    Lane,
    Language,
    LanguageMap,
    PartSearch,
    count_words,
)
from autolora.matching.relevance import logistic
from autolora.storage.arrays import BoolArray, Float32Array, Float64Array

COUNT, PARTS = 12, 5
WORDS = np.array([0.1, 0.2, 0.1, 0.8, 1.0])


def random_lanes(seed: int) -> list[Lane]:
    """Return two lanes of 12 adapters and 5 parts, in spaces of 6 and 4 dimensions; 7 adapters are of the first."""
    rng = np.random.default_rng(seed)
    members = rng.permutation(COUNT) < 7
    lanes = []
    for width, own in ((6, members), (4, ~members)):
        vectors = rng.normal(size=(COUNT, width)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[~own] *= rng.integers(0, 2, size=(COUNT, 1))[~own]  # some have no vector in the other space
        parts = rng.normal(size=(PARTS, width)).astype(np.float32)
        lanes.append(Lane(vectors, own, parts, np.append(rng.uniform(1, 9), rng.normal(size=3))))
    return lanes


def rests(lane: Lane, used: Sequence[int]) -> Float64Array:
    """Return what is left of the parts (P, d) of a lane if the vectors of used adapters explain all they can."""
    basis = lane.vectors[list(used)].T.astype(np.float64)
    return np.array([part - basis @ np.linalg.lstsq(basis, part, rcond=None)[0] for part in lane.parts])


def naive(
    lanes: Sequence[Lane], allowed: BoolArray, used: Sequence[int]
) -> tuple[Float64Array, Float64Array]:
    """Return log-odds and products (N, P) by loops over adapters and parts; -inf for those that must not be found."""
    odds, products = np.full((COUNT, PARTS), -np.inf), np.zeros((COUNT, PARTS))
    for lane in lanes:
        left = rests(lane, used)
        for adapter in np.flatnonzero(lane.members & allowed).tolist():
            for part, words in enumerate(WORDS.tolist()):
                product = float(left[part] @ lane.vectors[adapter])
                a, b, c, d = lane.coefficients.tolist()
                products[adapter, part] = product
                if adapter not in used:
                    odds[adapter, part] = a * product + b * words + c * product * words + d
    return odds, products


@pytest.mark.parametrize("seed", range(6))
def test_a_pursuit_is_that_of_a_double_loop_and_least_squares(seed: int) -> None:
    lanes = random_lanes(seed)
    allowed = np.random.default_rng(seed).random(COUNT) < (1.0 if seed % 2 else 0.7)
    search, used = PartSearch(lanes, WORDS, allowed), list[int]()
    for match in PartSearch(lanes, WORDS, allowed).pursue():
        odds, products = naive(lanes, allowed, used)
        scores, rows = search.scores(), np.flatnonzero(np.isfinite(odds[:, 0]))
        assert scores.log_odds == pytest.approx(odds.max(axis=1), abs=1e-3)
        assert odds[rows, scores.parts[rows]] == pytest.approx(odds.max(axis=1)[rows], abs=1e-3)
        assert scores.products[rows] == pytest.approx(products[rows, scores.parts[rows]], abs=1e-4)
        best = odds.max()
        assert odds[match.position, match.part] == pytest.approx(best, abs=1e-3)
        assert match.product == pytest.approx(products[match.position, match.part], abs=1e-4)
        assert match.relevance == pytest.approx(float(logistic(np.array(best))), abs=1e-3)
        used.append(match.position)
        search.use(match.position)
    assert sorted(used) == np.flatnonzero(allowed).tolist(), "each adapter once, and none that is masked"


@pytest.mark.parametrize("seed", range(4))
def test_the_best_adapter_of_each_part(seed: int) -> None:
    lanes, allowed = random_lanes(seed), np.random.default_rng(seed).random(COUNT) < 0.7
    positions, odds = PartSearch(lanes, WORDS, allowed).best_of_parts()
    expected, _ = naive(lanes, allowed, [])
    assert odds == pytest.approx(expected.max(axis=0), abs=1e-4)
    assert positions.tolist() == expected.argmax(axis=0).tolist()
    alone = PartSearch(lanes[:1], WORDS, allowed & lanes[0].members).best_of_parts()[0]
    assert alone.tolist() == naive(lanes[:1], allowed, [])[0].argmax(axis=0).tolist()


@pytest.mark.parametrize("case", ["no lane", "no adapter", "all masked", "a lane without members"])
def test_without_adapters_nothing_is_found(case: str) -> None:
    first, second = random_lanes(0)
    count = 0 if case in ("no lane", "no adapter") else COUNT
    nobody = replace(first, vectors=first.vectors[:count], members=np.zeros(count, np.bool_))
    lanes = {"no lane": [], "no adapter": [nobody], "all masked": [first, second]}.get(case, [nobody])
    search = PartSearch(lanes, WORDS, np.full(count, case == "a lane without members"))
    assert search.scores().log_odds.tolist() == [-np.inf] * count
    assert list(search.pursue()) == [] and np.isneginf(search.best_of_parts()[1]).all()


def test_equal_adapters_leave_nothing_for_each_other() -> None:
    vectors = np.repeat(np.eye(3, dtype=np.float32)[:1], 3, axis=0)
    lane = Lane(vectors, np.ones(3, np.bool_), vectors[:1] * 5, np.array([1.0, 0.0, 0.0, 0.0]))
    matches = list(PartSearch([lane], WORDS[:1], np.ones(3, np.bool_)).pursue())
    assert [(match.position, match.product) for match in matches] == [(0, 5.0), (1, 0.0), (2, 0.0)]
    assert lane.parts.tolist() == [[5.0, 0.0, 0.0]], "the lane is as it was"


def test_words_of_a_part_count_up_to_ten() -> None:
    assert count_words(["neon", "a neon  cat", "w " * 10, "w " * 30]) == pytest.approx([0.1, 0.3, 1.0, 1.0])


def random_language() -> Language:
    rng = np.random.default_rng(0)
    arrays: list[Float32Array] = [rng.normal(size=shape).astype(np.float32) for shape in ((4,), (4,), (4, 4))]
    return Language("model", LanguageMap(*arrays), rng.normal(size=(2, 4)), 1.5, 0.1)


def test_a_saved_language_is_loaded_exactly(tmp_path: Path) -> None:
    language = random_language()
    assert Language.load(tmp_path) is None
    language.save(tmp_path)
    loaded = Language.load(tmp_path)
    assert loaded is not None and (loaded.model, loaded.digest) == ("model", language.digest)
    assert np.array_equal(loaded.coefficients, language.coefficients)
    for name in LanguageMap.__slots__:
        assert np.array_equal(getattr(loaded.map, name), getattr(language.map, name))
    features = np.eye(4, dtype=np.float32)
    assert np.array_equal(loaded.map.captions(features), language.map.captions(features))
    other = replace(language, coefficients=language.coefficients + 1e-12)
    assert len({language.digest, other.digest, replace(language, model="another").digest}) == 3


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "no tensor", "further tensor", "no model"])
def test_a_damaged_language_is_an_error(tmp_path: Path, damage: str) -> None:
    path, array = tmp_path / FILE, np.eye(2)
    arrays = dict.fromkeys((*LanguageMap.__slots__, "coefficients", "more"), array)
    random_language().save(tmp_path)
    if damage in ("no tensor", "further tensor", "no model"):
        left = {"no tensor": 2, "further tensor": 5, "no model": 4}[damage]
        save_file(dict([*arrays.items()][:left]), path, None if damage == "no model" else {"model": "x"})
    else:
        path.write_bytes({"cut": path.read_bytes()[:-8], "text": b"no safetensors", "empty": b""}[damage])
    with pytest.raises(
        MissingArtifact, match=r"language.safetensors is not a valid language .*dvc repro enc"
    ):
        Language.load(tmp_path)
