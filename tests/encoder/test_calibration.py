"""Prompts that ask for training adapters, and a logistic regression."""

from collections import Counter

import numpy as np
import pytest

from autolora.encoder.calibration import (
    MAX_SIMILARITY,
    CalibrationSet,
    make_prompts,
    maximize_likelihood,
)
from autolora.matching.caption_rule import directions
from autolora.matching.evidence import logistic

CONCEPTS = ("linocut", "origami", "claymation", "stipple")
WIDTH = 8


@pytest.fixture
def adapters() -> CalibrationSet:
    """Two adapters of each concept, with three renderings."""
    rng = np.random.default_rng(0)
    axes = {concept: np.eye(WIDTH)[number] for number, concept in enumerate(CONCEPTS)}
    concepts = [concept for concept in CONCEPTS for _ in range(2)]
    renderings = [[[f"a {color} {concept}"] for color in ("red", "blue", "pink")] for concept in concepts]
    sums = [directions(axes[concept] + 0.1 * rng.normal(size=(3, WIDTH))) for concept in concepts]
    return CalibrationSet(renderings, sums, np.zeros((8, WIDTH)))


def test_prompts_are_captions_and_phrases_alone_and_of_different_adapters_together(
    adapters: CalibrationSet,
) -> None:
    prompts = list(make_prompts(adapters, np.random.default_rng(0)))
    kinds = Counter(prompt.kind for prompt in prompts)
    assert set(kinds) == {"caption", "2 captions", "3 captions", "phrase", "2 phrases", "3 phrases"}
    assert kinds["caption"] == 24 and kinds["phrase"] == 8
    similarity = adapters.centroids @ adapters.centroids.T
    for prompt in prompts:
        assert all(concept_of(adapter) in prompt.text for adapter in prompt.adapters)
        assert len({concept_of(adapter) for adapter in prompt.adapters}) == len(prompt.adapters)
        others = similarity[np.ix_(prompt.adapters, prompt.adapters)] - np.eye(len(prompt.adapters))
        assert others.max() <= MAX_SIMILARITY
        is_phrase = "phrase" in prompt.kind
        assert all((image is None) is is_phrase for image in prompt.described)


def concept_of(adapter: int) -> str:
    return CONCEPTS[adapter // 2]


def test_centroids_leave_out_the_described_rendering(adapters: CalibrationSet) -> None:
    left = adapters.caption_sums[3][1:].sum(axis=0)
    (centroid,) = adapters.centroids_without([3], [0])
    assert centroid == pytest.approx(left / np.linalg.norm(left), abs=1e-6)
    assert adapters.centroids_without([3], [None])[0] == pytest.approx(adapters.centroids[3], abs=1e-6)


def test_fitted_probabilities_are_those_of_the_data() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([9.0, -2.0, -4.0])
    inputs = np.stack([rng.uniform(0, 1, 20_000), rng.random(20_000) < 0.5, np.ones(20_000)], axis=1)
    labels = (rng.random(20_000) < logistic(inputs @ truth)).astype(float)
    assert maximize_likelihood(inputs, labels, np.ones(20_000)) == pytest.approx(truth, abs=0.25)


def test_a_fit_stays_finite_if_an_input_separates_everything() -> None:
    inputs = np.array([(0.1, 1), (0.2, 1), (0.8, 1), (0.9, 1)])
    slope, intercept = maximize_likelihood(inputs, np.array([0.0, 0, 1, 1]), np.ones(4))
    assert 0 < slope < 100 and 0.2 < -intercept / slope < 0.8
    assert np.isfinite(maximize_likelihood(inputs[:1], np.zeros(1), np.ones(1))).all()
