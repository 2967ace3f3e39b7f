"""The language of an encoder, fitted to captions in which words have no meaning but themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from autolora.encoder import language as fitting
from autolora.encoder.calibration import CalibrationPrompt, CalibrationSet
from autolora.encoder.everyday import EVERYDAY_PHRASES
from autolora.encoder.language import Unseen, fit_language, fit_map
from autolora.matching.caption_rule import CaptionRule, directions
from autolora.matching.evidence import Lane, PartSearch, count_words
from autolora.matching.language import Language, LanguageMap
from autolora.matching.parts import split_parts
from autolora.storage.arrays import Float32Array, Float64Array
from tests.support.tiny_sentences import WordSums

WIDTH = 128
SENTENCES = WordSums(WIDTH)
CONCEPTS = ("linocut", "origami", "claymation", "stipple", "batik", "fresco", "sepia", "voxel")
PER_CONCEPT = 3
KNOWN, UNKNOWN = EVERYDAY_PHRASES[:300], EVERYDAY_PHRASES[300:420]
"""everyday phrases that the fit sees, and others"""
RULE = CaptionRule(np.zeros(WIDTH), 0.0)
SURROUNDINGS = (
    "Dear team, we would like to see {}. Kind regards!",
    "{}, best quality, no people",
    "can you make {} for kids",
)


def embed(texts: Sequence[str]) -> Float32Array:
    """Return the unit vectors (N, WIDTH) of texts without what all share, as those that weights are compared with."""
    features, (shared,) = SENTENCES.encode(texts), SENTENCES.encode([""])
    return directions((features - np.outer(features @ shared, shared)).astype(np.float64)).astype(np.float32)


def captions_of(concept: str, rng: np.random.Generator) -> list[list[str]]:
    """Return the captions of three renderings: the concept, and something else in each."""
    things = rng.choice(KNOWN, size=(3, 2))
    return [[f"{thing} in the {concept} style" for thing in row] for row in things.tolist()]


@dataclass(frozen=True)
class World:
    """Training adapters, three of each concept, and further ones, of which each has the concept of the same number."""

    training: CalibrationSet
    others: list[list[str]]

    @classmethod
    def make(cls) -> "World":
        rng = np.random.default_rng(0)
        concepts = [concept for concept in CONCEPTS for _ in range(PER_CONCEPT)]
        weights = embed(concepts) + 0.05 * rng.normal(size=(len(concepts), WIDTH))
        renderings = [captions_of(concept, rng) for concept in concepts]
        others = [[text for texts in captions_of(concept, rng) for text in texts] for concept in CONCEPTS]
        return cls(CalibrationSet(renderings, [np.zeros((3, WIDTH))] * len(concepts), weights), others)

    def fit(self, seed: int = 0) -> Language:
        return fit_language(self.training, SENTENCES, embed, embed, RULE, seed)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "EVERYDAY_PHRASES", KNOWN)
        patch.setattr(fitting, "MAX_PROMPTS", 40)
        yield World.make()


@pytest.fixture(scope="module")
def language(world: World) -> Language:
    return world.fit()


@dataclass(frozen=True)
class Selecting:
    """Adapters that the training has not seen, as a search selects them by captions or by weights."""

    language: Language
    by_captions: Float32Array
    by_weights: Float32Array

    def __call__(self, prompt: str, lane: str = "captions") -> list[str]:
        parts, is_captions, everyone = (
            split_parts(prompt),
            lane == "captions",
            np.ones(len(CONCEPTS), np.bool_),
        )
        compared = Lane(
            self.by_captions if is_captions else self.by_weights,
            everyone,
            self.language.captions.parts(SENTENCES.encode(parts)) if is_captions else embed(parts),
            count_words(parts),
            self.language.coefficients[int(is_captions)],
        )
        search = PartSearch([compared], everyone)
        found = [CONCEPTS[match.position] for match in search.pursue() if match.relevance >= 0.6]
        return sorted(found[:3])


@pytest.fixture(scope="module")
def selected(world: World, language: Language) -> Selecting:
    sums = [language.captions.said(SENTENCES.encode(texts)).sum(axis=0) for texts in world.others]
    vectors = np.array([row / np.linalg.norm(row) for row in sums])
    return Selecting(language, vectors, embed(CONCEPTS))


def share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def test_phrases_select_their_adapters_whatever_stands_around_them(selected: Selecting) -> None:
    single = {f"a {concept} cat": [concept] for concept in CONCEPTS}
    double = {f"{one} and {two}": sorted((one, two)) for one, two in pairwise(CONCEPTS)}
    for prompts in (single, double):
        assert share([selected(prompt) == wanted for prompt, wanted in prompts.items()]) == 1
        for form in SURROUNDINGS:
            found = {prompt: selected(form.format(prompt)) for prompt in prompts}
            assert share([found[prompt] == wanted for prompt, wanted in prompts.items()]) >= 0.85


def test_everyday_phrases_select_nothing(selected: Selecting) -> None:
    assert share([selected(phrase) == [] for phrase in UNKNOWN]) >= 0.95
    assert selected("") == [] and selected("the of") == []


def test_weights_have_coefficients_of_their_own(selected: Selecting) -> None:
    assert share([selected(f"a {concept} cat", "weights") == [concept] for concept in CONCEPTS]) == 1
    assert share([selected(phrase, "weights") == [] for phrase in UNKNOWN]) >= 0.9
    by_weights, by_captions, _ = selected.language.coefficients
    assert by_weights[0] > 0 < by_captions[0] and not np.allclose(by_weights, by_captions, rtol=0.1)


def test_texts_of_an_adapter_are_told_from_those_of_others(world: World, language: Language) -> None:
    """By its captions and by its weights; the training has seen phrases in other sentences."""
    right, wrong = list[float](), list[float]()
    for number, concept in enumerate(CONCEPTS):
        spoken = language.captions.mean(SENTENCES.encode(world.others[number]))
        weights = embed([concept]).astype(np.float64)
        for other in (concept, CONCEPTS[number - 1]):
            texts = [f"my {other} lora", f"{other} for everybody"]
            cosine = float(language.captions.mean(SENTENCES.encode(texts)) @ spoken)
            agreement = float(RULE.agreements(weights, embed(texts).astype(np.float64).sum(axis=0)[None])[0])
            odds = language.trust.log_odds(cosine, 0, 0), language.trust.log_odds(None, agreement, 1.0)
            (right if other == concept else wrong).extend(odds)
    assert min(right) > 2 > 0 > max(wrong)


def test_without_a_rule_weights_say_nothing_about_texts(world: World) -> None:
    trust = fit_language(world.training, SENTENCES, embed, embed, None, 0).trust
    assert trust.by_weights == pytest.approx([0, 0]) and trust.by_captions[0] > 1


@pytest.mark.slow
def test_the_seed_determines_the_language(world: World, language: Language) -> None:
    again, other = world.fit(), world.fit(seed=1)
    assert again.digest == language.digest and again.model == SENTENCES.digest
    assert not np.allclose(other.coefficients, language.coefficients, rtol=1e-3)


def test_training_adapters_are_compared_as_new_ones_would_be(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the captions of the rendering that a prompt describes; parts keep their lengths."""
    lanes = list[Unseen]()

    def keep(written: Sequence[CalibrationPrompt], unseen: Unseen) -> Float64Array:
        lanes.append(unseen)
        return np.ones(4)

    monkeypatch.setattr(fitting, "fit_coefficients", keep)
    language = world.fit()
    by_weights, by_captions = lanes
    texts = ["neon", "a vacuum cleaner", ""]
    assert np.allclose(by_captions.embed(texts), language.captions.parts(SENTENCES.encode(texts)))
    assert np.allclose(by_weights.embed(texts), embed(texts))
    for described in (None, 0, 2):
        left = [texts for row, texts in enumerate(world.training.renderings[5]) if row != described]
        vectors = language.captions.said(SENTENCES.encode([text for texts in left for text in texts]))
        (vector,) = by_captions.vectors([5], [described])
        assert vector == pytest.approx(vectors.sum(axis=0) / np.linalg.norm(vectors.sum(axis=0)), abs=1e-5)
        (vector,), weights = by_weights.vectors([5], [described]), world.training.weights[5]
        assert vector == pytest.approx(weights / np.linalg.norm(weights), abs=1e-5)


def map_of(change: np.ndarray | None = None, shift: float = 0.0) -> tuple[LanguageMap, list[Float32Array]]:
    """Return the map of captions, and features: everyday phrases, captions, and those of the empty text.

    change (d, d), shift: of all features.
    """
    rng = np.random.default_rng(0)
    captions = [[text for texts in captions_of(concept, rng) for text in texts] for concept in CONCEPTS]
    texts = [list(KNOWN), *captions, [""]]
    axes = np.eye(WIDTH) if change is None else change
    features = [SENTENCES.encode(row).astype(np.float64) @ axes for row in texts]
    everyday, *rows, empty = [(row + shift).astype(np.float32) for row in features]
    return fit_map(rows, everyday, empty[0]), [everyday, np.concatenate(rows), empty]


def test_everyday_phrases_have_length_1_and_the_empty_text_has_no_direction() -> None:
    fitted, (everyday, captions, empty) = map_of()
    assert np.linalg.norm(fitted.parts(everyday), axis=1).mean() == pytest.approx(1, abs=1e-4)
    assert np.allclose(np.linalg.norm(fitted.said(captions), axis=1), 1, atol=1e-5)
    axis = empty[0] - fitted.said_mean
    assert np.linalg.norm(axis) > 0.1 and np.abs(axis @ fitted.matrix).max() < 1e-5
    longer = empty + 3 * axis  # what all texts share
    assert fitted.parts(longer) == pytest.approx(fitted.parts(empty), abs=1e-4)


def test_products_depend_neither_on_the_origin_nor_on_the_axes_of_the_features() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(WIDTH, WIDTH)))
    expected, *others = [
        fitted.parts(everyday[:50]) @ fitted.said(captions).T
        for fitted, (everyday, captions, _) in (map_of(), map_of(rotation), map_of(shift=0.5))
    ]
    assert np.std(expected) > 0.05
    assert all(np.allclose(other, expected, atol=1e-3) for other in others)


def test_what_differs_within_an_adapter_and_what_is_frequent_weigh_little() -> None:
    """Axis 0 differs between the captions of each adapter, axis 1 between everyday phrases, 2 and 3 little."""
    rng = np.random.default_rng(0)
    own = [(rng.normal(size=(50, 4)) * (1, 0.1, 0.1, 0.1)).astype(np.float32) for _ in range(3)]
    everyday = (rng.normal(size=(200, 4)) * (0.1, 1, 0.1, 0.1)).astype(np.float32)
    lengths = np.linalg.norm(fit_map(own, everyday, np.array([0, 0, 0, 1], np.float32)).matrix, axis=1)
    assert max(lengths[:2]) < 0.7 * lengths[2] and lengths[3] < 0.2 * lengths[2]
    alone = fit_map([], everyday, np.array([0, 0, 0, 1], np.float32))
    lengths = np.linalg.norm(alone.matrix, axis=1)
    assert np.array_equal(alone.said_mean, alone.phrase_mean) and lengths[1] < 0.7 * lengths[0]
