"""Relevance: logistic in the cosine, with coefficients of its own for vectors that contain captions."""

import json

import numpy as np
import pytest

from autolora.matching.relevance import Relevance, logistic

RELEVANCE = Relevance(np.array([[4.0, -1.0, -2.0], [8.0, 2.0, -6.0]]))


def test_probabilities_depend_on_the_cosine_the_kind_and_the_step() -> None:
    cosines, kinds = np.array([0.5, 0.75, 0.5]), np.array([False, True, True])
    first = RELEVANCE.probabilities(cosines, kinds, remainder=0.0)
    assert first == pytest.approx([0.5, 0.5, 1 / (1 + np.exp(2))])
    further = RELEVANCE.probabilities(cosines, kinds, remainder=1.0)
    assert further == pytest.approx([1 / (1 + np.e), 1 / (1 + np.exp(-2)), 0.5])


def test_json_keeps_every_bit() -> None:
    precise = Relevance(np.random.default_rng(0).normal(size=(2, 3)))
    restored = Relevance.from_json(json.loads(json.dumps(precise.to_json())))
    assert np.array_equal(restored.coefficients, precise.coefficients)


def test_logistic_does_not_overflow() -> None:
    with np.errstate(all="raise"):
        assert logistic(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
