"""Calibration on a world of concepts: probabilities that hold for other adapters, and what is left out."""

import logging
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from autolora.encoder.calibration import (
    MAX_SIMILARITY,
    CalibrationSet,
    Observation,
    calibrate,
    fit_logistic,
    make_prompts,
    observe,
)
from autolora.matching.hybrid import CaptionRule
from autolora.matching.relevance import logistic
from autolora.matching.selection import Candidates, select
from autolora.storage.arrays import Float64Array

WIDTH = 48
COLORS = ("red", "green", "blue", "pink")


class World:
    """Concepts with a direction each; a text's vector is the sum of its words' directions."""

    def __init__(self, concepts: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.concepts = [f"concept{'abcdefghijklmnopqrstuvwxyz'[i]}" for i in range(concepts)]
        names = (*self.concepts, *COLORS, "a")
        directions, _ = np.linalg.qr(self.rng.normal(size=(WIDTH, len(names))))
        self.directions = dict(zip(names, directions.T, strict=True))

    def embed(self, texts: Sequence[str]) -> Float64Array:
        rows = []
        for text in texts:
            words = text.replace(",", " ").split()
            size = [1.0 if word in self.concepts else 0.4 if word in COLORS else 0.1 for word in words]
            rows.append(sum(s * self.directions[word] for s, word in zip(size, words, strict=True)))
        noisy = np.array(rows) + 0.02 * self.rng.normal(size=(len(texts), WIDTH))
        return noisy / np.linalg.norm(noisy, axis=1, keepdims=True)

    def adapters(self, per_concept: int, hybrid: bool = True) -> CalibrationSet:
        concepts = [concept for concept in self.concepts for _ in range(per_concept)]
        renderings = [[[f"a {self.rng.choice(COLORS)} {concept}"] for _ in range(3)] for concept in concepts]
        weights = self.embed(concepts) + 0.1 * self.rng.normal(size=(len(concepts), WIDTH))
        weights *= 0.1 / np.linalg.norm(weights, axis=1, keepdims=True)
        sums = [self.embed([texts[0] for texts in group]) for group in renderings]
        rule = CaptionRule(np.zeros(WIDTH), margin=-0.1) if hybrid else None
        return CalibrationSet(renderings, sums, weights, rule)


@pytest.fixture
def world() -> World:
    return World(concepts=12, seed=0)


def test_selection_finds_concepts_of_other_adapters_and_nothing_else(world: World) -> None:
    relevance = calibrate(world.adapters(2), world.embed, seed=0)
    others = world.adapters(2)
    vectors, uses = others.hybrid(range(24), [None] * 24)

    def concepts(prompt: str) -> list[str]:
        matches = select(world.embed([prompt])[0], Candidates.all_of(vectors, uses), relevance, 3, 0.5)
        return sorted(world.concepts[match.position // 2] for match in matches)

    expected = {f"a red {concept}": [concept] for concept in world.concepts}
    expected |= {f"a {one}, {two}": [one, two] for one, two in pairwise(world.concepts)}
    expected |= {f"a {color}": [] for color in COLORS}
    exact = [concepts(prompt) == wanted for prompt, wanted in expected.items()]
    assert sum(exact) >= 0.85 * len(exact)  # by chance none: the right one of 12 concepts, or no concept


def test_without_captions_both_kinds_have_the_same_coefficients(world: World) -> None:
    relevance = calibrate(world.adapters(2, hybrid=False), world.embed, seed=0)
    assert np.array_equal(*relevance.coefficients)


def test_each_kind_of_vector_has_its_own_coefficients(world: World) -> None:
    weights, captions = calibrate(world.adapters(2), world.embed, seed=0).coefficients
    assert not np.allclose(weights, captions, rtol=0.05)


def test_prompts_leave_out_their_own_rendering(world: World) -> None:
    adapters = world.adapters(1)
    vector, uses = adapters.hybrid([3], [0])
    expected = 2 * adapters.caption_sums[3][1:].sum(axis=0)
    expected = expected / np.linalg.norm(expected) * 2 + 10 * adapters.weights[3]
    assert uses.tolist() == [True]
    assert vector[0] == pytest.approx(expected / np.linalg.norm(expected))


def test_adapters_with_resembling_captions_are_neither_relevant_nor_irrelevant(world: World) -> None:
    adapters = world.adapters(2)
    similarity = adapters.centroids @ adapters.centroids.T
    assert similarity[0, 1] > MAX_SIMILARITY > similarity[0, 2]
    prompts = list(make_prompts(adapters, np.random.default_rng(0)))
    rows = list(observe(adapters, prompts, world.embed([prompt.text for prompt in prompts])))
    kinds = Counter(row.kind for row in rows)
    assert set(kinds) == {
        "caption", "caption, absent", "2 captions", "3 captions",
        "phrase", "phrase, absent", "2 phrases", "3 phrases",
    }  # fmt: skip
    assert not any(row.is_relevant for row in rows if row.kind.endswith("absent"))
    first = [row for row in rows if row.kind == "phrase" and row.remainder == 0]
    assert first and all(row.is_relevant for row in first)  # the twin is found as often, and left out


def test_observing_does_not_change_the_adapters(world: World) -> None:
    adapters = world.adapters(2)
    weights, sums = adapters.weights.copy(), [rows.copy() for rows in adapters.caption_sums]
    calibrate(adapters, world.embed, seed=3)
    assert np.array_equal(adapters.weights, weights)
    assert all(map(np.array_equal, adapters.caption_sums, sums))


def test_fitted_probabilities_are_those_of_the_data() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([9.0, -2.0, -4.0])
    cosines, further = rng.uniform(0, 1, 20_000), rng.random(20_000) < 0.5
    labels = rng.random(20_000) < logistic(truth[0] * cosines + truth[1] * further + truth[2])
    rows = [
        Observation("caption", float(c), float(f), True, bool(y))
        for c, f, y in zip(cosines, further, labels, strict=True)
    ]
    assert fit_logistic(rows) == pytest.approx(truth, abs=0.25)


def test_slope_is_never_negative(caplog: pytest.LogCaptureFixture) -> None:
    rows = [Observation("caption", c, 0.0, True, c < 0.5) for c in (0.1, 0.2, 0.3, 0.8, 0.9)]
    with caplog.at_level(logging.WARNING):
        slope, _, intercept = fit_logistic(rows)
    assert slope == 0 and 0.5 < logistic(np.array([intercept]))[0] < 0.65  # 3 of 5 are relevant
    assert "does not depend on the cosine" in caplog.text


def test_fit_stays_finite_if_a_cosine_separates_everything() -> None:
    rows = [Observation("caption", c, 0.0, True, c > 0.5) for c in (0.1, 0.2, 0.8, 0.9)]
    slope, _, intercept = fit_logistic(rows)
    assert 0 < slope < 100 and 0.2 < -intercept / slope < 0.8
    assert np.isfinite(fit_logistic(rows[:1])).all()
